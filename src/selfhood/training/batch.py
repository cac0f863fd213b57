"""Pack -> tensors. Suffixes: T slots of the pack, N trained positions. The only label shift."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selfhood.training.schedule import Pack


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One forward pass: the model's inputs, and what it should have said.

    ``mask_11TT`` is additive: 0 where slot i may see slot j, the dtype's minimum elsewhere.
    """

    ids_1T: Tensor
    positions_1T: Tensor
    mask_11TT: Tensor
    target_slots_N: Tensor
    target_ids_N: Tensor
    target_weights_N: Tensor


def to_batch(pack: Pack, *, device: torch.device, dtype: torch.dtype) -> Batch:
    """``dtype`` is the model's: the mask is added to attention scores of that type."""

    def numbers(values: tuple[int, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Batch(
        ids_1T=numbers(pack.ids)[None],
        positions_1T=numbers(pack.positions)[None],
        mask_11TT=additive_mask(visible(numbers(pack.last)), dtype)[None, None],
        target_slots_N=numbers(pack.target_slots),
        target_ids_N=numbers(pack.target_ids),
        target_weights_N=torch.tensor(pack.target_weights, device=device),
    )


def visible(last_T: Tensor) -> Tensor:
    """(T, T) bool: slot i sees slot j when j is i or one of its ancestors, j <= i <= last[j]."""
    slots_T = torch.arange(len(last_T), device=last_T.device)
    return (slots_T[None, :] <= slots_T[:, None]) & (slots_T[:, None] <= last_T[None, :])


def additive_mask(visible_TT: Tensor, dtype: torch.dtype) -> Tensor:
    mask_TT = torch.zeros(visible_TT.shape, dtype=dtype, device=visible_TT.device)
    return mask_TT.masked_fill_(~visible_TT, torch.finfo(dtype).min)
