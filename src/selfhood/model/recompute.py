"""Activation checkpointing, by transformers' own switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def recomputing(model: Any) -> Iterator[None]:
    """Within the block, layers keep their input alone and compute the rest again on the way back.

    The gradient is the same, dropout included: its random state is kept too.
    """
    # The newer form of checkpoint, which needs no input that has a gradient.
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    try:
        yield
    finally:
        model.gradient_checkpointing_disable()
