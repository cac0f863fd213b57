"""A LoRA as every engine knows it: pairs of matrices A and B on linear layers, and nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfhood.errors import InputError
from selfhood.run import Checkpoint

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainLora:
    """peft's folder, and its settings. ``rank`` is the largest of all layers."""

    folder: Path
    config: Mapping[str, Any]

    @classmethod
    def at(cls, folder: Path, *, backend: str) -> PlainLora:
        """Raises InputError for an adapter that ``backend`` cannot hold beside others."""
        config = Checkpoint(folder).adapter_config()
        extra = _extra(config)
        if extra is not None:
            raise InputError(
                f"{backend} answers with plain LoRA adapters only; this one has {extra}",
                where=str(folder),
                hint="use --infer_backend native"
                if config.get("peft_type") != "LORA"
                else f"merge it (selfhood export --adapters {folder} --merge_lora true) and give "
                "the result as --model, or use --infer_backend native",
            )
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"holds no {WEIGHTS}", where=str(folder))
        return cls(folder=folder, config=config)

    @property
    def rank(self) -> int:
        return int(max([self.config["r"], *(self.config.get("rank_pattern") or {}).values()]))

    @property
    def alpha(self) -> float:
        return float(self.config["lora_alpha"])

    def scale(self, module: str, rank: int) -> float:
        """What B A of this layer is multiplied by; LoRA: alpha / r, rsLoRA: alpha / sqrt(r)."""
        patterns = (self.config.get("alpha_pattern") or {}).items()
        alpha = next(
            (a for pattern, a in patterns if re.match(rf"(.*\.)?({pattern})$", module)), self.alpha
        )
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def _extra(config: Mapping[str, Any]) -> str | None:
    """What it has beside A and B, if anything."""
    kind = config.get("peft_type")
    if kind != "LORA":
        return f"virtual tokens ({kind})" if kind else "no peft_type"
    if config.get("use_dora"):
        return "the lengths of DoRA"
    if config.get("modules_to_save"):
        return f"whole modules ({', '.join(config['modules_to_save'])})"
    if config.get("bias", "none") != "none":
        return "biases"
    return None
