"""selfhood, from the working tree."""

from __future__ import annotations

from pathlib import Path

import selfhood
from bench.peers.environment import Environment
from bench.peers.rows import MESSAGES
from bench.peers.tool import Task, Tool, flags, read_jsonl


def argv(task: Task, output: Path) -> tuple[str, ...]:
    words = ["python", "-m", "selfhood", "sft", "--model", str(task.model)]
    words += ["--dataset", str(task.rows / MESSAGES)]
    return (*words, *flags(task.options), "--output_dir", str(output))


SELFHOOD = Tool(
    name="selfhood",
    environment=Environment(name="selfhood", shown=("transformers", "peft")),
    argv=argv,
    read=read_jsonl,
    variables={"PYTHONPATH": str(Path(selfhood.__file__).parents[1])},
)
