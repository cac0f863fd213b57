"""Attention for short passes on CPUs that multiply bfloat16.

torch's fused kernel pays off with long rows. Of a pass of a few hundred tokens in bfloat16 its way
back takes several times as long as the plain products do, of which there are but two here for each
group of heads that share keys. The sums are those of the fused kernel, up to rounding.

Suffixes: B rows, H heads, K heads of keys, G heads that share one, T slots, S slots seen, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAME = "short_sdpa"
LONGEST = 640  # slots; what is kept for the way back grows with their square


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
    scores_BKNS = query_BKND @ key_BKSD.transpose(-1, -2)
    scores_BHTS = scores_BKNS.view(rows, -1, height, key_BKSD.shape[2]) + attention_mask
    weights_BKNS = scores_BHTS.softmax(dim=-1).view_as(scores_BKNS)
    out_BKND = weights_BKNS @ value_BKSD
    return out_BKND.view_as(query_BHTD).transpose(1, 2).contiguous(), None
