"""A tool that is a few lines of Python, for the benches that run tools."""

from __future__ import annotations

from pathlib import Path

from bench.peers.environment import Environment
from bench.peers.tool import RECIPE, Logged, Task, Tool

TASK = Task(
    model=Path("MODEL"),
    rows=Path("ROWS"),
    options={**RECIPE, "torch_dtype": "bfloat16", "max_steps": "4"},
)


def script(source: str) -> Tool:
    """``source`` finds the output folder in ``sys.argv[1]`` and writes update and loss, a line an
    update, into ``run.log`` there."""

    def read(line: str, num_before: int) -> Logged:
        update, loss = line.split()
        return Logged(update=int(update), loss=float(loss))

    return Tool(
        name="script",
        environment=Environment(name="here", shown=()),
        argv=lambda task, output: ("python", "-c", source, str(output)),
        log="run.log",
        read=read,
    )
