"""Attention for short passes on CPUs that multiply bfloat16.

torch's fused kernel pays off with long rows. Of a pass of a few hundred tokens in bfloat16 its way
back takes several times as long as the plain products do, of which there are but two here for each
group of heads that share keys. The weights, T x S a head, are not kept either: they are made again
on the way back. The sums are those of the fused kernel, up to rounding.

Suffixes: B rows, H heads, K heads of keys, T slots, N slots of all heads that share keys, S slots
seen, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selfhood.model.autograd import Step

NAME = "short_sdpa"
LONGEST = 640  # slots; the weights of a layer grow with their square


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

    width, height = query_BHTD.shape[-1], query_BHTD.shape[-2]
    is_plain = not dropout and not options.get("softcap") and options.get("s_aux") is None
    is_short = height <= LONGEST and torch.is_grad_enabled()
    if attention_mask is None or attention_mask.dtype == torch.bool or not (is_plain and is_short):
        attended: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_BHTD, key_BKSD, value_BKSD, attention_mask,
            dropout=dropout, scaling=scaling, **options,
        )  # fmt: skip
        return attended
    rows, heads = query_BHTD.shape[0], key_BKSD.shape[1]
    query_BKND = (query_BHTD * (scaling or width**-0.5)).reshape(rows, heads, -1, width)
    out_BKND: Tensor = _Attended.of(query_BKND, key_BKSD, value_BKSD, attention_mask)
    return out_BKND.view_as(query_BHTD).transpose(1, 2).contiguous(), None


class _Attended(Step):
    """``softmax(query keyᵀ + mask) value``, of a query that is scaled."""

    @staticmethod
    def forward(
        ctx: Any, query_BKND: Tensor, key_BKSD: Tensor, value_BKSD: Tensor, mask_11TS: Tensor
    ) -> Tensor:
        ctx.save_for_backward(query_BKND, key_BKSD, value_BKSD, mask_11TS)
        return _weights(query_BKND, key_BKSD, mask_11TS) @ value_BKSD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_BKND,) = grads
        query_BKND, key_BKSD, value_BKSD, mask_11TS = ctx.saved_tensors
        weights_BKNS = _weights(query_BKND, key_BKSD, mask_11TS)
        grad_value_BKSD = weights_BKNS.transpose(-1, -2) @ grad_BKND
        grad_scores_BKNS = torch.ops.aten._softmax_backward_data(
            grad_BKND @ value_BKSD.transpose(-1, -2), weights_BKNS, -1, weights_BKNS.dtype
        )
        grad_key_BKSD = grad_scores_BKNS.transpose(-1, -2) @ query_BKND
        return grad_scores_BKNS @ key_BKSD, grad_key_BKSD, grad_value_BKSD, None


def _weights(query_BKND: Tensor, key_BKSD: Tensor, mask_11TS: Tensor) -> Tensor:
    """(B, K, N, S)"""
    rows = len(query_BKND)
    height, seen = mask_11TS.shape[-2:]
    scores_BKNS = query_BKND @ key_BKSD.transpose(-1, -2)
    scores_BKNS.view(rows, -1, height, seen).add_(mask_11TS)
    return scores_BKNS.softmax(dim=-1)
