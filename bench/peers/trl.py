"""TRL 1.16.0's SFTTrainer, by its own script: as it is by default, and at its best on a CPU."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from bench.peers.environment import Environment
from bench.peers.rows import PROMPTS
from bench.peers.tool import STDOUT, Logged, Task, Tool, flags

# ms-swift's word -> TRL's; None: says nothing that ``ALWAYS`` does not say.
WORDS: Mapping[str, str | None] = {
    "torch_dtype": "dtype",
    "tuner_type": None,
    "lora_rank": "lora_r",
    "target_modules": "lora_target_modules",
    "warmup_ratio": "warmup_steps",  # below 1 it is a ratio
    "train_dataloader_shuffle": None,
    "dataset_shuffle": None,
}
ALWAYS = {
    "use_peft": "true",
    "use_cpu": "true",
    "train_sampling_strategy": "sequential",
    "disable_tqdm": "true",
    "report_to": "none",
}
WHOLE_BATCH = {
    "per_device_train_batch_size": "16",
    "gradient_accumulation_steps": "1",
    "gradient_checkpointing": "false",
}
# TRL pads nothing only where no length limit is set, which no flag can say.
NO_PADDING = {
    "padding_free": "true",
    "max_length": None,
    "config": "bench/peers/no_limit.yaml",
}

ENVIRONMENT = Environment(
    name="trl",
    requirements=("trl==1.16.0", "transformers==5.23.0", "peft==0.21.2"),
    shown=("trl", "transformers", "peft"),
)


def trl(name: str, changes: Mapping[str, str | None]) -> Tool:
    """TRL with some settings other than its defaults and the recipe; None leaves a flag out."""

    def argv(task: Task, output: Path) -> tuple[str, ...]:
        words = ["python", "-m", "trl.scripts.sft", "--model_name_or_path", str(task.model)]
        words += ["--dataset_name", str(task.rows / PROMPTS)]
        options = {**translated(task.options), **ALWAYS, **changes}
        given = {name: value for name, value in options.items() if value is not None}
        return (*words, *flags(given), "--output_dir", str(output))

    return Tool(name=name, environment=ENVIRONMENT, argv=argv, log=STDOUT, read=read_printed)


def translated(options: Mapping[str, str]) -> dict[str, str]:
    words = {WORDS.get(name, name): value for name, value in options.items()}
    dtype = {"bf16": str(options["torch_dtype"] == "bfloat16").lower()}
    return {word: value for word, value in words.items() if word is not None} | dtype


def read_printed(line: str, num_before: int) -> Logged | None:
    """``{'loss': '3.159', 'grad_norm': '7.18', ...}``; one line an update, without its number."""
    if not line.startswith("{'loss'"):
        return None
    return Logged(update=num_before + 1, loss=float(ast.literal_eval(line)["loss"]))


TRL = trl("TRL, defaults", {})
TRL_BATCH = trl("TRL, batch 16, no checkpointing", WHOLE_BATCH)
TRL_PADDING_FREE = trl("TRL, batch 16, padding-free", {**WHOLE_BATCH, **NO_PADDING})
