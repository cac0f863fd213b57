"""The model of a run with what it trains: new weights, or a checkpoint's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from selfhood.model.adapters import attach, continue_adapter, trainable
from selfhood.model.load import Loaded, load_model
from selfhood.recipe import Recipe


def load_tuned(recipe: Recipe, path: Path, *, dtype: torch.dtype, tokenizer: Any = None) -> Loaded:
    """``path`` is where the recipe's model is, ``dtype`` what the run computes in, ``tokenizer``
    the model's, where it has been loaded before. With ``--adapters``, its weights are trained
    on."""
    options = recipe.model
    base = options.model or ""
    if recipe.tuner.tuner_type == "full":
        return _load_whole(recipe, path, dtype, tokenizer)
    loaded = load_model(
        path,
        dtype=dtype,
        attention=options.attn_impl,
        quantisation=options.quantisation,
        # Where several processes will share it, no GPU has to hold it whole.
        device=torch.device("cpu") if recipe.train.has_parts else None,
        tokenizer=tokenizer,
    )
    if options.adapters:
        tuned = continue_adapter(loaded.model, Path(options.adapters[0]), base=base)
    else:
        tuned = attach(loaded.model, recipe.tuner, base=base, seed=recipe.train.seed)
    return replace(loaded, model=tuned)


def _load_whole(recipe: Recipe, path: Path, dtype: torch.dtype, tokenizer: Any) -> Loaded:
    """What moves is held in float32, what is frozen as the run computes."""
    loaded = load_model(
        path, dtype="float32", attention=recipe.model.attn_impl, tokenizer=tokenizer
    )
    model = attach(loaded.model, recipe.tuner, base="", seed=recipe.train.seed)
    moving = {id(weight) for _, weight in trainable(model)}
    for weight in model.parameters():
        if id(weight) not in moving:
            weight.data = weight.data.to(dtype)
    return replace(loaded, model=model, dtype=dtype)
