"""``--deepspeed``: a preset or a JSON file -> DeepSpeed's configuration. No torch here.

    zero0   all whole     zero1   moments in parts     zero2   and gradients     zero3   and weights

What flags decide is left out of a file: batch sizes, clipping, optimizer, schedule, dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfhood.errors import FlagError
from selfhood.files import read_json
from selfhood.recipe import TrainOptions

Config = dict[str, Any]

_TO_CPU = {"device": "cpu", "pin_memory": True}
PRESETS: Mapping[str, Config] = {
    "zero1": {"stage": 1},
    "zero2": {"stage": 2},
    "zero3": {"stage": 3},
    "zero2_offload": {"stage": 2, "offload_optimizer": _TO_CPU},
    "zero3_offload": {"stage": 3, "offload_optimizer": _TO_CPU, "offload_param": _TO_CPU},
}
DECIDED_BY_FLAGS = (
    "train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps",
    "gradient_clipping", "optimizer", "scheduler", "fp16", "bf16",
)  # fmt: skip
_SECTION = "zero_optimization"


def check_sharing(train: TrainOptions, num_processes: int) -> None:
    """Raise where ``--fsdp`` or ``--deepspeed`` cannot work."""
    if not train.has_parts:
        return
    by_zero = train.deepspeed != "zero0"
    flag = "--deepspeed" if by_zero else "--fsdp"
    if train.fsdp and by_zero:
        raise FlagError("does the work of --fsdp", where=flag, hint="give one of them")
    if num_processes == 1:
        raise FlagError(
            "one process has nobody to share with", where=flag, hint="set NPROC_PER_NODE"
        )
    if by_zero:
        zero_config(train)
        if train.resume_from_checkpoint is not None:
            raise FlagError(
                "cannot be used with --deepspeed yet",
                where="--resume_from_checkpoint",
                hint="--fsdp fsdp2 can resume",
            )
        if find_spec("deepspeed") is None:
            raise FlagError(
                "the package is not installed",
                where=flag,
                hint="pip install 'deepspeed>=0.19.8', or use --fsdp fsdp2",
            )


def zero_config(train: TrainOptions) -> Config:
    """Complete but for the dtype."""
    if train.deepspeed in PRESETS:
        config = {_SECTION: dict(PRESETS[train.deepspeed])}
    else:
        config = _read(train.deepspeed)
    config[_SECTION].pop("overlap_comm", None)  # not where passes are counted by the caller
    return config | {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": train.max_grad_norm,
        # An update is as many passes as its rows need: we say when it is complete.
        "managed_gradient_accumulation": False,
        # torch's AdamW, as everywhere in the house.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def _read(text: str) -> Config:
    if not text.endswith(".json"):
        raise FlagError(
            f"{text!r} is neither a preset ({', '.join(PRESETS)}) nor a .json file",
            where="--deepspeed",
        )
    values = read_json(Path(text).expanduser())
    if not isinstance(values, dict) or not isinstance(values.get(_SECTION), dict):
        raise FlagError(f"has no {_SECTION}", where=text)
    kept = {key: value for key, value in values.items() if key not in DECIDED_BY_FLAGS}
    return {key: _without_auto(value) for key, value in kept.items() if value != "auto"}


def _without_auto(value: Any) -> Any:
    """``auto`` asks transformers' Trainer to fill in; DeepSpeed's own defaults do."""
    if not isinstance(value, dict):
        return value
    return {key: _without_auto(inner) for key, inner in value.items() if inner != "auto"}
