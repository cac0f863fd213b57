"""AdamW, and at what pace each weight learns.

Every group of weights has a ``pace``: its learning rate is the schedule's times that.
"""

from __future__ import annotations

from typing import Any

import torch

from selfhood.model.adapters import trainable
from selfhood.recipe import Recipe

Group = dict[str, Any]  # as torch's optimizers take them


def make_optimizer(model: Any, recipe: Recipe) -> torch.optim.AdamW:
    """Over every weight of ``model`` that is trained."""
    train = recipe.train
    return torch.optim.AdamW(
        parameter_groups(model, recipe.tuner.lorap_lr_ratio),
        lr=train.peak_learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        weight_decay=train.weight_decay,
        fused=True,  # one kernel, not a dozen small operations for each of hundreds of matrices
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The schedule's rate, for each group at its own pace."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["pace"]


def parameter_groups(model: Any, lorap_lr_ratio: float | None) -> list[Group]:
    """One group; with LoRA+ (arXiv 2402.12354) two, of which B matrices and vectors learn
    ``lorap_lr_ratio`` times as fast."""
    named = trainable(model)
    if lorap_lr_ratio is None:
        return [{"params": [weight for _, weight in named], "pace": 1.0}]
    fast = [weight for name, weight in named if "lora_B" in name or weight.ndim == 1]
    rest = [weight for name, weight in named if not ("lora_B" in name or weight.ndim == 1)]
    return [{"params": rest, "pace": 1.0}, {"params": fast, "pace": lorap_lr_ratio}]
