"""Attention in blocks is the fused kernel's attention, whatever the mask lets be seen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from selfhood.model import attention
from selfhood.model.attention import attend, blocks_of
from selfhood.training.batch import additive_mask, tree_mask, visible

WIDTH, HEADS, KEY_HEADS = 8, 6, 2
LAYER = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS)


def tree(num_slots: int, *, beginning: int, row: int) -> Tensor:
    """The last slots of rows that share a beginning."""
    last = [num_slots - 1] * beginning
    while len(last) < num_slots:
        length = min(row, num_slots - len(last))
        last += [len(last) + length - 1] * length
    return torch.tensor(last)


def whole_mask(last_T: Tensor) -> Tensor:
    return additive_mask(visible(last_T), torch.float32)[None, None]


def windowed_mask() -> Tensor:
    mask = tree_mask(tree(50, beginning=4, row=9), torch.arange(50), 5, torch.float32)
    assert isinstance(mask, Tensor)
    return mask


MASKS = {
    "rows that share a beginning": whole_mask(tree(100, beginning=7, row=13)),
    "rows that share nothing": whole_mask(tree(64, beginning=0, row=10)),
    "one block": whole_mask(tree(5, beginning=1, row=2)),
    "windows": windowed_mask(),
    "keys before the first slot": functional.pad(whole_mask(tree(40, beginning=3, row=9)), (6, 0)),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_blocks_attend_as_the_fused_kernel(mask: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 16)
    num_slots, num_seen = mask.shape[-2:]
    generator = torch.Generator().manual_seed(0)

    def drawn(heads: int, slots: int) -> Tensor:
        return torch.randn(1, heads, slots, WIDTH, generator=generator).requires_grad_()

    inputs = drawn(HEADS, num_slots), drawn(KEY_HEADS, num_seen), drawn(KEY_HEADS, num_seen)
    ours, _ = attend(LAYER, *inputs, mask)
    fused, _ = sdpa_attention_forward(LAYER, *inputs, mask)  # type: ignore[arg-type]
    assert torch.allclose(ours, fused, atol=1e-6)
    grad = torch.randn(ours.shape, generator=generator)
    for mine, its in zip(
        torch.autograd.grad(ours, inputs, grad),
        torch.autograd.grad(fused, inputs, grad),
        strict=True,
    ):
        assert torch.allclose(mine, its, atol=1e-6)


def test_a_block_leaves_out_what_none_of_its_slots_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", 10)
    mask_TS = whole_mask(tree(32, beginning=2, row=10))[0, 0]
    seen = [block.seen_C.tolist() for block in blocks_of(mask_TS)]
    beginning = [0, 1]
    assert seen[0] == list(range(10))
    assert seen[1] == [*beginning, *range(2, 21)]
    assert seen[2] == [*beginning, *range(12, 32)]
