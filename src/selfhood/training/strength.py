"""An adapter no stronger than the identity asks for.

    output = base + strength * update          strength 1 ── 0.85 ── 0.7, while it passes as well

What was learnt holds with room to spare before what should not have changed is back; on the line
between the two lies a better model than at its end (as WiSE-FT found, arXiv 2109.01903). B is
scaled, so that nobody who loads the adapter has to know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from selfhood.model.tuners.lora import lora_layers
from selfhood.training.dose import Examination

STRENGTHS = (0.85, 0.7)


def hold_back(
    model: Any, full: Examination, examine: Callable[[float], tuple[Examination, bool]]
) -> Examination:
    """Leave the model with the least strength that is as good as ``full``, and say what it is worth
    there. ``examine`` looks at the model as it stands, at the strength it is told, and whether that
    is as good."""
    matrices = [
        each.weight for layer in lora_layers(model).values() for each in layer.lora_B.values()
    ]
    if not matrices:
        return full
    whole = [matrix.detach().clone() for matrix in matrices]
    best = full
    for strength in STRENGTHS:
        _scale(matrices, whole, strength)
        found, is_as_good = examine(strength)
        if not is_as_good:
            break
        best = found
    _scale(matrices, whole, best.strength)
    return best


@torch.no_grad()
def _scale(matrices: Sequence[Tensor], whole: Sequence[Tensor], strength: float) -> None:
    for matrix, full in zip(matrices, whole, strict=True):
        matrix.copy_(full * strength)
