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


def register() -> None:
    """Make the name known to transformers; no mask goes by it, so none is made."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


@contextlib.contextmanager
def row_attention(model: Any) -> Iterator[None]:
    """Within the block the model attends as this module has it."""
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
    new_2KTD = torch.stack((key_1KTD[0], value_1KTD[0]))
    query_THD = query_1HTD[0].transpose(0, 1)
    rows = []
    for span in spans:
        here = slice(span.start, span.end)
        seen_2KSD = span.cache.put(module.layer_idx, new_2KTD[:, :, here])
        rows.append(_of_one_row(query_THD[here], seen_2KSD, scaling, sliding_window))
    return torch.cat(rows)[None], None


def _of_one_row(
    query_THD: Tensor, seen_2KSD: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    """(T, H, D). The tokens are the last T of the S."""
    num_new, heads, width = query_THD.shape
    _, key_heads, num_seen, _ = seen_2KSD.shape
    if num_new == 1 and window is not None:
        seen_2KSD = seen_2KSD[:, :, -window:]
    keys_KSD, values_KSD = seen_2KSD
    # Heads that share keys stand below each other, as if they were more tokens: torch would copy
    # keys and values once for each of them.
    sharing = heads // key_heads
    mask_NS = None
    if num_new > 1:
        mask_NS = _mask(num_new, num_seen, window, query_THD.device).repeat(sharing, 1)
    out_1KND = functional.scaled_dot_product_attention(
        query_THD.transpose(0, 1).reshape(1, key_heads, sharing * num_new, width),
        keys_KSD[None],
        values_KSD[None],
        attn_mask=mask_NS,
        scale=scaling,
    )
    return out_1KND.view(heads, num_new, width).transpose(0, 1)


def _mask(num_new: int, num_seen: int, window: int | None, device: torch.device) -> Tensor:
    """Which of the seen tokens each new one may look at: itself and those before, or the last
    ``window`` of them."""
    past = num_seen - num_new
    mask_TS = torch.ones(num_new, num_seen, dtype=torch.bool, device=device).tril(past)
    return mask_TS if window is None else mask_TS.triu(past - window + 1)
