"""How the updates of a model may be laid out: decided here, once, from its config.

    attention alone      packs: one sequence, a mask that lets each row see only itself
    anything recurrent   rows beside each other, padded to one length: a state that is carried from
                         token to token would carry one row of a pack into the next

Layers of a kind look back to the start of the row or through a window; each kind gets a mask of its
own, under the names that transformers' ``create_masks_for_generate`` gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfhood.data.encode import Sample
from selfhood.training.schedule import Pack, pack, pad

Windows = int | None | Mapping[str, int | None]
"""Tokens that a layer sees, its own included, None: all; by kind of layer where there are kinds."""

ATTENTION = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """``lay_out`` makes the passes of an update within a token budget."""

    lay_out: Callable[[Sequence[Sample], int], list[Pack]]
    windows: Windows = None
    obstacle: str | None = None
    """Why rows are padded, as the end of a sentence about the model; None where they are packed."""


def layout_of(config: Any) -> Layout:
    """``config`` is a model's, as transformers reads it."""
    text = config.get_text_config(decoder=True)
    kinds = set(getattr(text, "layer_types", None) or ())
    obstacle = _obstacle(config, kinds)
    if obstacle is not None:
        return Layout(lay_out=pad, obstacle=obstacle)
    window: int | None = getattr(text, "sliding_window", None)
    if kinds == {"full_attention"}:
        return Layout(lay_out=pack)
    if kinds:
        windows = {"full_attention": None, "sliding_attention": window}
        return Layout(lay_out=pack, windows=windows)
    return Layout(lay_out=pack, windows=window)


def _obstacle(config: Any, kinds: set[str]) -> str | None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    others = ", ".join(sorted(kinds - ATTENTION))
    if others:
        return f"has layers of the kind {others}"
    network = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if getattr(network, "_is_stateful", False):
        return "carries a state from token to token"
    if not getattr(network, "_supports_attention_backend", False):
        return "makes its own attention masks"
    return None
