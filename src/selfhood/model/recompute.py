"""Activation checkpointing, by transformers' own switch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from selfhood.recipe import TunerOptions


def can_recompute(config: Any, tuner: TunerOptions) -> bool:
    """Prefixes reach the layers as a cache, which transformers takes away from layers that are
    computed twice; and some models have no such switch."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    network = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    is_able = getattr(network, "supports_gradient_checkpointing", False)
    return is_able and tuner.tuner_type != "prefix-tuning"


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
