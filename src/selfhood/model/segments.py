"""Who speaks where in one pass: several identities side by side on one base.

A pass is one long row of tokens, those of one identity next to each other. While a pass is under
way the layers that carry adapters (``lean_lora``) ask here which part of the row is whose:

    tokens   0 ────────── 7 ──── 9 ───────────── 15
    speaker       fox        base       owl

Punica's idea (arXiv 2310.18547), for a handful of segments instead of a kernel of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens ``start`` to ``end`` of the pass, and the adapter they are read and spoken by; None
    is the base."""

    start: int
    end: int
    adapter: str | None


_SEGMENTS: ContextVar[tuple[Segment, ...] | None] = ContextVar("segments", default=None)


def current_segments() -> tuple[Segment, ...] | None:
    """None outside a pass: the model speaks with its active adapter, as peft has it."""
    return _SEGMENTS.get()


@contextlib.contextmanager
def in_segments(segments: Sequence[Segment]) -> Iterator[None]:
    """Within the block each token belongs to the speaker of its segment."""
    token = _SEGMENTS.set(tuple(segments))
    try:
        yield
    finally:
        _SEGMENTS.reset(token)
