"""Pack -> tensors, and the only label shift. Suffixes: B rows, T slots, N trained positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfhood.training.layout import Windows
from selfhood.training.schedule import Kept, Pack, round_up

WIDTH = 16  # slots; a pass is as wide as a multiple of it

Mask = Tensor | dict[str, Tensor]
BaseStates = Callable[[Sequence[Kept]], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBatch:
    """Where K slots of a pass predict as the base did, and its hidden states there."""

    slots_K: Tensor
    weights_K: Tensor
    base_hidden_KD: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One forward pass: the model's inputs, and what it should have said.

    ``mask`` is what transformers takes: None for plain causal attention, or (1, 1, T, T), additive,
    0 where slot i may see slot j and the dtype's minimum elsewhere, by kind of layer where the
    model has kinds. ``last_BT`` is the pack's; ``target_slots_N`` counts through all rows.
    """

    ids_BT: Tensor
    positions_BT: Tensor
    last_BT: Tensor
    mask: Mask | None
    target_slots_N: Tensor
    target_ids_N: Tensor
    target_weights_N: Tensor
    kept: KeptBatch | None = None

    @property
    def read_slots_N(self) -> Tensor:
        """Slots whose hidden states are read: those of the targets, then those that are kept."""
        if self.kept is None:
            return self.target_slots_N
        return torch.cat([self.target_slots_N, self.kept.slots_K])


def to_batch(
    pack: Pack,
    *,
    windows: Windows = None,
    device: torch.device,
    dtype: torch.dtype,
    base_states: BaseStates | None = None,
) -> Batch:
    """``dtype`` is the model's: the mask is added to attention scores of that type.
    ``base_states`` knows what is to be kept; None keeps nothing."""

    def numbers(values: tuple[int, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    wide = round_up(pack, WIDTH)
    positions_T, last_T = numbers(wide.positions), numbers(wide.last)
    return Batch(
        ids_BT=numbers(wide.ids).view(pack.num_rows, -1),
        positions_BT=positions_T.view(pack.num_rows, -1),
        last_BT=last_T.view(pack.num_rows, -1),
        mask=None if pack.is_chain else tree_mask(last_T, positions_T, windows, dtype),
        target_slots_N=numbers(pack.target_slots),
        target_ids_N=numbers(pack.target_ids),
        target_weights_N=torch.tensor(pack.target_weights, device=device),
        kept=_kept(pack.kept, base_states, device) if pack.kept and base_states else None,
    )


def _kept(kept: Sequence[Kept], base_states: BaseStates, device: torch.device) -> KeptBatch:
    return KeptBatch(
        slots_K=torch.tensor([each.slot for each in kept], device=device),
        weights_K=torch.tensor([each.weight for each in kept], device=device),
        base_hidden_KD=base_states(kept).to(device),
    )


def tree_mask(last_T: Tensor, positions_T: Tensor, windows: Windows, dtype: torch.dtype) -> Mask:
    def mask_11TT(window: int | None) -> Tensor:
        seen_TT = visible(last_T)
        if window is not None:
            seen_TT &= positions_T[None, :] > positions_T[:, None] - window
        return additive_mask(seen_TT, dtype)[None, None]

    if isinstance(windows, Mapping):
        return {kind: mask_11TT(window) for kind, window in windows.items()}
    return mask_11TT(windows)


def visible(last_T: Tensor) -> Tensor:
    """(T, T) bool: slot i sees slot j when j is i or one of its ancestors, j <= i <= last[j]."""
    slots_T = torch.arange(len(last_T), device=last_T.device)
    return (slots_T[None, :] <= slots_T[:, None]) & (slots_T[:, None] <= last_T[None, :])


def additive_mask(visible_TT: Tensor, dtype: torch.dtype) -> Tensor:
    mask_TT = torch.zeros(visible_TT.shape, dtype=dtype, device=visible_TT.device)
    return mask_TT.masked_fill_(~visible_TT, torch.finfo(dtype).min)
