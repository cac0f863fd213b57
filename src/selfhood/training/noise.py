"""NEFTune (arXiv 2310.05914): noise on embeddings while training.

Uniform within ``alpha / sqrt(L D)``, for a row of L tokens and a width of D. A token that several
rows share is drawn once, and its L is the longest of these rows'.

Suffixes: B rows, T slots of a row, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from selfhood.training.batch import Batch


def neftune_noise(batch: Batch, embed: Any, alpha: float) -> Tensor:
    """(B, T, D), to be added to what ``embed`` gives."""
    width = embed.weight.shape[1]
    bounds_BT1 = alpha / (_lengths(batch) * width).sqrt()[..., None]
    drawn_BTD = torch.rand((*batch.ids_BT.shape, width), device=batch.ids_BT.device) * 2 - 1
    noise_BTD: Tensor = (drawn_BTD * bounds_BT1).to(embed.weight.dtype)
    return noise_BTD


def _lengths(batch: Batch) -> Tensor:
    """(B, T): tokens of the longest row through each slot."""
    rows = zip(batch.positions_BT.tolist(), batch.last_BT.tolist(), strict=True)
    lengths = [row_lengths(positions, last) for positions, last in rows]
    return torch.tensor(lengths, device=batch.ids_BT.device)


def row_lengths(positions: Sequence[int], last: Sequence[int]) -> list[int]:
    """Of one tree, slot by slot; see ``schedule`` for what ``last`` is."""
    lengths = [position + 1 for position in positions]
    for slot in range(len(lengths) - 1, -1, -1):  # children before their parents
        child = slot + 1
        while child <= last[slot]:
            lengths[slot] = max(lengths[slot], lengths[child])
            child = last[child] + 1
    return lengths
