"""Options of the command line, and the model's own generation settings -> Sampling."""

from __future__ import annotations

from typing import Any

from selfhood.engine.types import Sampling
from selfhood.recipe import ReplyOptions

LONGEST_REPLY = 1024


def resolve_sampling(options: ReplyOptions, model_settings: Any) -> Sampling:
    """What is typed wins; then ``generation_config.json``; a model that does not sample is greedy.

    ``model_settings`` is a transformers GenerationConfig.
    """
    samples = bool(getattr(model_settings, "do_sample", False))

    def settle(typed: float | None, name: str, off: float) -> float:
        own = getattr(model_settings, name, None)
        if typed is not None:
            return typed
        return own if samples and own is not None else off

    return Sampling(
        temperature=settle(options.temperature, "temperature", 1.0 if samples else 0.0),
        top_p=settle(options.top_p, "top_p", 1.0),
        top_k=int(settle(options.top_k, "top_k", 0)),
        repetition_penalty=settle(options.repetition_penalty, "repetition_penalty", 1.0),
        max_new_tokens=options.max_new_tokens or LONGEST_REPLY,
        stop=options.stop_words,
        seed=options.seed,
    )
