"""What is known of a tool: its command line, and how its log is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.environment import Environment

STDOUT = "stdout.log"

# One update is sixteen rows, one at a time, in file order. The words are ms-swift's, which selfhood
# knows too; trl.py translates them.
RECIPE: Mapping[str, str] = {
    "tuner_type": "lora",
    "lora_rank": "8",
    "lora_alpha": "32",
    "lora_dropout": "0",
    "target_modules": "all-linear",
    "per_device_train_batch_size": "1",
    "gradient_accumulation_steps": "16",
    "learning_rate": "1e-4",
    "lr_scheduler_type": "cosine",
    "warmup_ratio": "0.05",
    "weight_decay": "0.1",
    "adam_beta2": "0.95",
    "max_length": "2048",
    "train_dataloader_shuffle": "false",
    "dataset_shuffle": "false",
    "save_strategy": "no",
    "logging_steps": "1",
    "seed": "42",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training, whichever tool does it."""

    model: Path
    rows: Path
    """A folder, as ``rows.write_rows`` makes it."""
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A line of a tool's log: an update that is over. ``loss`` is nats per trained token."""

    update: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """``argv`` is pure: what it gives is both run and printed. Its first word is a program of the
    tool's environment."""

    name: str
    environment: Environment
    argv: Callable[[Task, Path], tuple[str, ...]]
    log: str = "v*/logging.jsonl"
    """Where the log is, as a glob below the output folder."""
    read: Callable[[str, int], Logged | None]
    """A line of the log, and how many updates were logged before it."""
    variables: Mapping[str, str] = field(default_factory=dict)


def flags(options: Mapping[str, str]) -> list[str]:
    """``{"seed": "42"}`` -> ``["--seed", "42"]``"""
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def read_jsonl(line: str, num_before: int) -> Logged | None:
    """ms-swift's log and selfhood's: ``{"loss": 3.1, "global_step/max_steps": "1/4", ...}``"""
    record = json.loads(line)
    if "loss" not in record:
        return None
    update = int(record["global_step/max_steps"].partition("/")[0])
    return Logged(update=update, loss=float(record["loss"]))
