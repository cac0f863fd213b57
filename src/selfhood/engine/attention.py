"""Attention of a pass in which many rows lie one behind the other, each with a cache of its own.

    pass     [ row a: 1 token ][ row b: 1 token ][ row c: 37 tokens of a prompt ]
    sees       a's cache         b's cache         c's cache, and itself up to each token

transformers' own door for attention functions; what the pass holds comes as the argument ``spans``.
No mask is made, and nothing is padded.

Suffixes: H heads, K heads of keys, T tokens of the pass, N tokens of heads that share keys,
S tokens a span sees, D width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from selfhood.engine.kv_cache import KVCache

NAME = "rows"


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens ``start`` to ``end`` of a pass are the next of the row that ``cache`` belongs to."""

    start: int
    end: int
    cache: KVCache


@contextlib.contextmanager
def row_attention(model: Any) -> Iterator[None]:
    """Within the block the model attends as this module has it."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)  # no mask of that name: transformers makes none
    # Not through set_attn_implementation, which walks over all modules, at every token.
    config = model.config
    usual, config._attn_implementation = config._attn_implementation, NAME
    try:
        yield
    finally:
        config._attn_implementation = usual


def attend(
    module: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    *,
    spans: Sequence[Span],
    **options: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: (1, T, H, D), and no attention weights."""
    assert options.get("softcap") is None and options.get("s_aux") is None, "not attended here"
    out_1THD = torch.empty_like(query_1HTD.transpose(1, 2), memory_format=torch.contiguous_format)
    for span in spans:
        here = slice(span.start, span.end)
        keys_KSD, values_KSD = span.cache.put(
            module.layer_idx, key_1KTD[0, :, here], value_1KTD[0, :, here]
        )
        query_HTD = query_1HTD[0, :, here]
        out_1THD[0, here] = _of_one_row(
            query_HTD, keys_KSD, values_KSD, scaling, sliding_window
        ).transpose(0, 1)
    return out_1THD, None


def _of_one_row(
    query_HTD: Tensor,
    keys_KSD: Tensor,
    values_KSD: Tensor,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """(H, T, D). The tokens are the last T of the S."""
    heads, num_new, width = query_HTD.shape
    num_seen = keys_KSD.shape[1]
    if num_new == 1 and window is not None:
        keys_KSD, values_KSD = keys_KSD[:, -window:], values_KSD[:, -window:]
    # Heads that share keys stand below each other, as if they were more tokens: torch would copy
    # keys and values once for each of them.
    sharing = heads // len(keys_KSD)
    mask_NS = None
    if num_new > 1:
        mask_NS = _mask(num_new, num_seen, window, query_HTD.device).repeat(sharing, 1)
    out_1KND = functional.scaled_dot_product_attention(
        query_HTD.reshape(1, -1, sharing * num_new, width),
        keys_KSD[None],
        values_KSD[None],
        attn_mask=mask_NS,
        scale=scaling,
    )
    return out_1KND.view(heads, num_new, width)


def _mask(num_new: int, num_seen: int, window: int | None, device: torch.device) -> Tensor:
    """Which of the seen tokens each new one may look at: itself and those before, or the last
    ``window`` of them."""
    past = num_seen - num_new
    mask_TS = torch.ones(num_new, num_seen, dtype=torch.bool, device=device).tril(past)
    return mask_TS if window is None else mask_TS.triu(past - window + 1)
