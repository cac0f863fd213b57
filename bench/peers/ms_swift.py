"""ms-swift 4.6.0. It cannot tell a model from its folder alone, and asks to be told of a CPU."""

from __future__ import annotations

from pathlib import Path

from bench.peers.environment import Environment
from bench.peers.rows import MESSAGES
from bench.peers.tool import Task, Tool, flags, read_jsonl

NEEDED = {"model_type": "qwen2", "template": "qwen2_5", "check_model": "false", "use_cpu": "true"}


def argv(task: Task, output: Path) -> tuple[str, ...]:
    words = ["swift", "sft", "--model", str(task.model), *flags(NEEDED)]
    words += ["--dataset", str(task.rows / MESSAGES)]
    return (*words, *flags(task.options), "--output_dir", str(output))


MS_SWIFT = Tool(
    name="ms-swift",
    environment=Environment(
        name="ms-swift",
        requirements=("ms-swift==4.6.0", "transformers==5.19.0", "peft==0.20.0"),
        shown=("ms-swift", "transformers", "peft"),
    ),
    argv=argv,
    read=read_jsonl,
)
