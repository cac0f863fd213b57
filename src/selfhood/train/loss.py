"""Cross-entropy at trained positions: sums and counts, never means.

The caller divides by the trained tokens of the whole update. A mean per pass would let short
replies weigh more than long ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from selfhood.train.batch import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """``nll`` carries the gradient; ``correct`` and ``weight`` are plain numbers of tokens."""

    nll: Tensor
    correct: float
    weight: float


def forward(model: Any, batch: Batch) -> LossSums:
    """One pass; logits exist at the trained positions only."""
    output = model(
        input_ids=batch.ids_1T,
        position_ids=batch.positions_1T,
        attention_mask=batch.mask_11TT,
        logits_to_keep=batch.target_slots_N,
        use_cache=False,
    )
    logits_NV = output.logits[0].float()
    nll_N = functional.cross_entropy(logits_NV, batch.target_ids_N, reduction="none")
    correct_N = logits_NV.detach().argmax(dim=-1) == batch.target_ids_N
    return LossSums(
        nll=(nll_N * batch.target_weights_N).sum(),
        correct=float((correct_N * batch.target_weights_N).sum()),
        weight=float(batch.target_weights_N.sum()),
    )


def isfinite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
