"""Attention of packed passes on a CPU: each block of slots against the keys that it can see.

torch's fused kernel computes the scores of all slots against all slots and masks most of them away,
since it cannot know that rows of a pack do not see each other. Here a block leaves out the keys
that none of its slots sees:

    keys of a pass    [ shared beginning | row | row | row | row | row ]
    of this block     [ shared beginning ]           [ row | row ]

Which those are is read off the mask, so that windows and virtual tokens need no word here. The
weights are not kept: they are made again on the way back. The sums are those of the fused kernel,
up to rounding. Plain causal attention, which has no mask, is left to the fused kernel.

Suffixes: B rows, H heads, K heads of keys, G heads that share keys, T slots, S slots seen, M slots
of a block times G, C slots that a block sees, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from selfhood.model.autograd import Step

NAME = "block_sdpa"
BLOCK = 128  # slots: fewer make small products, more see what they need not


def register() -> None:
    """Make the name known to transformers; its own doors for attention and for masks."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: Any,
    query_BHTD: Tensor,
    key_BKSD: Tensor,
    value_BKSD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: (B, T, H, D), and no attention weights."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    is_plain = not dropout and not options.get("softcap") and options.get("s_aux") is None
    if not is_plain or attention_mask is None or not _is_of_a_pack(attention_mask):
        attended: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_BHTD, key_BKSD, value_BKSD, attention_mask,
            dropout=dropout, scaling=scaling, **options,
        )  # fmt: skip
        return attended
    _, heads, height, width = query_BHTD.shape
    query_KGTD = query_BHTD.view(key_BKSD.shape[1], -1, height, width)
    out_KTGD: Tensor = _Attended.of(
        query_KGTD.transpose(1, 2).contiguous(),
        key_BKSD[0].contiguous() * (scaling or width**-0.5),
        value_BKSD[0].contiguous(),
        attention_mask[0, 0],
    )
    return out_KTGD.transpose(0, 1).reshape(1, height, heads, width), None


def _is_of_a_pack(mask: Tensor) -> bool:
    """Whether one mask, to be added to scores, serves all heads of a single sequence."""
    return mask.is_floating_point() and mask.shape[:2] == (1, 1)


@dataclass(frozen=True, slots=True)
class Block:
    """Some neighbouring slots of a pass, and what any of them sees."""

    slots: slice
    seen_C: Tensor

    def queries(self, tensor_KTGD: Tensor) -> Tensor:
        """(K, M, D)"""
        return tensor_KTGD[:, self.slots].flatten(1, 2)

    def keys(self, tensor_KSD: Tensor) -> Tensor:
        """(K, C, D)"""
        return tensor_KSD.index_select(1, self.seen_C)

    def weights(self, query_KMD: Tensor, key_KCD: Tensor, mask_TS: Tensor) -> Tensor:
        """(K, M, C)"""
        mask_t1C = mask_TS[self.slots].index_select(1, self.seen_C)[:, None]
        scores_KMC = query_KMD @ key_KCD.transpose(1, 2)
        scores_KMC.view(len(key_KCD), len(mask_t1C), -1, len(self.seen_C)).add_(mask_t1C)
        return scores_KMC.softmax(dim=-1)


def blocks_of(mask_TS: Tensor) -> list[Block]:
    """A pass in blocks of nearly one size. Each layer asks anew, which costs next to nothing: the
    mask is all that transformers hands from layer to layer."""
    height = len(mask_TS)
    count = max(round(height / BLOCK), 1)
    bounds = [height * number // count for number in range(count + 1)]
    hidden = torch.finfo(mask_TS.dtype).min
    blocks = []
    for start, end in pairwise(bounds):
        sees_S = mask_TS[start:end].amax(dim=0) > hidden
        blocks.append(Block(slice(start, end), sees_S.nonzero()[:, 0]))
    return blocks


class _Attended(Step):
    """``softmax(query keyᵀ + mask) value``, of keys that are scaled."""

    @staticmethod
    def forward(
        ctx: Any, query_KTGD: Tensor, key_KSD: Tensor, value_KSD: Tensor, mask_TS: Tensor
    ) -> Tensor:
        ctx.save_for_backward(query_KTGD, key_KSD, value_KSD, mask_TS)
        ctx.blocks = blocks_of(mask_TS)
        out_KTGD = torch.empty_like(query_KTGD)
        for block in ctx.blocks:
            weights_KMC = block.weights(block.queries(query_KTGD), block.keys(key_KSD), mask_TS)
            block.queries(out_KTGD).copy_(weights_KMC @ block.keys(value_KSD))
        return out_KTGD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_KTGD,) = grads
        query_KTGD, key_KSD, value_KSD, mask_TS = ctx.saved_tensors
        grad_query_KTGD = torch.empty_like(query_KTGD)
        # What several blocks see adds up in float32, as it does within a product.
        grad_key_KSD = torch.zeros_like(key_KSD, dtype=torch.float32)
        grad_value_KSD = torch.zeros_like(value_KSD, dtype=torch.float32)
        for block in ctx.blocks:
            query_KMD, grad_KMD = block.queries(query_KTGD), block.queries(grad_KTGD)
            key_KCD, value_KCD = block.keys(key_KSD), block.keys(value_KSD)
            weights_KMC = block.weights(query_KMD, key_KCD, mask_TS)
            grad_scores_KMC = torch.ops.aten._softmax_backward_data(
                grad_KMD @ value_KCD.transpose(1, 2), weights_KMC, -1, weights_KMC.dtype
            )
            block.queries(grad_query_KTGD).copy_(grad_scores_KMC @ key_KCD)
            grad_key_KCD = grad_scores_KMC.transpose(1, 2) @ query_KMD
            grad_key_KSD.index_add_(1, block.seen_C, grad_key_KCD.float())
            grad_value_KCD = weights_KMC.transpose(1, 2) @ grad_KMD
            grad_value_KSD.index_add_(1, block.seen_C, grad_value_KCD.float())
        dtype = key_KSD.dtype
        return grad_query_KTGD, grad_key_KSD.to(dtype), grad_value_KSD.to(dtype), None
