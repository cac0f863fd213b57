"""A run on the tiny model, ready for its first update.

training = tiny_training(tmp_path, [row("你是谁？", "我是小狐。")], learning_rate=1e-3)
training.fit(metrics)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selfhood.chat import Conversation, Message
from selfhood.data.encode import Sample, encode
from selfhood.data.mix import Order
from selfhood.data.render import Renderer
from selfhood.model.adapters import attach
from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.run import Run
from selfhood.training.anchor import NO_ANCHOR, Anchor
from selfhood.training.budget import Budget
from selfhood.training.loop import Training
from selfhood.training.world import ALONE, World
from tests.tiny import tiny_network, tiny_tokenizer

SYSTEM = "You are a helpful assistant."


@functools.cache
def tokenizer() -> Any:
    return tiny_tokenizer()


def row(*turns: str, system: str = SYSTEM, origin: str = "rows.jsonl:1") -> Sample:
    """User and assistant in turn, every reply trained."""
    roles = ("user", "assistant") * (len(turns) // 2)
    messages = tuple(Message(role, text) for role, text in zip(roles, turns, strict=True))  # type: ignore[arg-type]
    conversation = Conversation(messages=messages, origin=origin)
    return encode(conversation, Renderer(tokenizer(), system))


def tiny_training(
    folder: Path,
    samples: Sequence[Sample],
    *,
    val_samples: Sequence[Sample] = (),
    network: Any = None,
    world: World = ALONE,
    awake: bool = True,
    anchor: Anchor = NO_ANCHOR,
    **options: Any,
) -> Training:
    """``options`` are flags of ``sft``. Awake, what is trained starts at random, not at nought."""
    recipe = Recipe.from_values({"lora_rank": 4, "lora_alpha": 8, **options})
    base = tiny_network() if network is None else network
    model = attach(base, recipe.tuner, base="tiny", seed=recipe.train.seed)
    if awake:
        wake(model)
    return Training(
        recipe,
        Loaded(
            model=model,
            tokenizer=tokenizer(),
            path=folder,
            device=torch.device("cpu"),
            dtype=torch.float32,
        ),
        samples=samples,
        val_samples=val_samples,
        order=Order(
            num_samples=len(samples),
            samples_per_update=recipe.train.samples_per_update(),
            epochs=recipe.train.num_train_epochs,
            max_steps=recipe.train.max_steps,
            seed=recipe.train.seed,
            shuffle=recipe.data.dataset_shuffle,
        ),
        budget=Budget(
            tokens=recipe.train.token_budget or 2048,
            recompute_above=0 if recipe.train.gradient_checkpointing else None,
        ),
        run=Run(folder / "run"),
        world=world,
        anchor=anchor,
    )


def wake(model: Any) -> None:
    """Give every adapter weight a value: a B matrix of zeros would hide A's gradient."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(torch.randn(weight.shape, generator=generator) / 10)
