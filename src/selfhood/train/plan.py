"""What a run will do, before any weight is loaded."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from selfhood.data.encode import Sample, encode_all
from selfhood.data.mix import Order
from selfhood.data.mixture import Mixture, data_seed
from selfhood.data.render import Renderer
from selfhood.errors import InputError
from selfhood.model.load import context_length, load_tokenizer, overrides_dtype
from selfhood.recipe import Recipe
from selfhood.train.schedule import pack

# Measured on the starter model: below this many updates at the tutorials' learning rate nothing of
# the identity is learned (docs/results/dose.md).
FEW_UPDATES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rows, tokens and updates of a run, and what is worth a warning."""

    recipe: Recipe
    model_path: Path
    renderer: Renderer
    mixture: Mixture
    samples: tuple[Sample, ...]
    val_samples: tuple[Sample, ...]
    order: Order
    num_deleted: int
    num_truncated: int
    warnings: tuple[str, ...]

    @property
    def token_lengths(self) -> tuple[float, int, int]:
        """Mean, shortest, longest."""
        lengths = [len(sample.ids) for sample in self.samples]
        return statistics.fmean(lengths), min(lengths), max(lengths)

    @property
    def trained_share(self) -> float:
        tokens = sum(len(sample.ids) for sample in self.samples)
        return sum(sample.num_trained for sample in self.samples) / tokens

    def first_update(self) -> tuple[int, int, int]:
        """Tokens as written, tokens as computed, passes: what the schedule saves."""
        samples = [self.samples[number] for number in next(self.order.updates())]
        packs = pack(samples, self.recipe.train.token_budget)
        written = sum(len(sample.ids) for sample in samples)
        return written, sum(each.num_tokens for each in packs), len(packs)


def make_plan(recipe: Recipe, mixture: Mixture, model_path: Path) -> Plan:
    """Tokenise everything and lay the updates out."""
    from transformers import AutoConfig

    renderer = Renderer(load_tokenizer(model_path), recipe.model.system)
    limit = recipe.data.max_length
    if model_path.is_dir():
        longest = context_length(AutoConfig.from_pretrained(model_path))
        limit = longest if limit is None else min(limit, longest)
    encoded = encode_all(
        mixture.train,
        renderer,
        max_length=limit or 32768,
        truncation=recipe.data.truncation_strategy,
    )
    if not encoded.samples:
        raise InputError(
            f"every row is longer than {limit} tokens",
            where="--max_length",
            hint="raise it or set --truncation_strategy",
        )
    val = encode_all(
        mixture.val,
        renderer,
        max_length=limit or 32768,
        truncation=recipe.data.truncation_strategy,
    )
    order = Order(
        num_samples=len(encoded.samples),
        samples_per_update=recipe.train.samples_per_update,
        epochs=recipe.train.num_train_epochs,
        max_steps=recipe.train.max_steps,
        seed=data_seed(recipe),
        shuffle=recipe.data.dataset_shuffle,
    )
    return Plan(
        recipe=recipe,
        model_path=model_path,
        renderer=renderer,
        mixture=mixture,
        samples=encoded.samples,
        val_samples=val.samples,
        order=order,
        num_deleted=encoded.num_deleted,
        num_truncated=encoded.num_truncated,
        warnings=(*mixture.warnings, *_warnings(recipe, mixture, order)),
    )


def _warnings(recipe: Recipe, mixture: Mixture, order: Order) -> list[str]:
    train = recipe.train
    found: list[str] = []
    if overrides_dtype(recipe.model.torch_dtype):
        found.append(
            f"--torch_dtype {recipe.model.torch_dtype}: this CPU has no fast 16-bit units; "
            "computing in float32, which is faster here and more exact"
        )
    for share in mixture.shares:
        if share.is_repeated:
            found.append(
                f"{share.spec}: asked for {share.spec.num_rows} rows of {share.num_rows}; "
                "rows are repeated to fill up"
            )
        if share.num_skipped:
            found.append(f"{share.spec}: {share.num_skipped} bad rows skipped")
    if order.num_updates < FEW_UPDATES and train.peak_learning_rate <= 1e-4:
        epochs = round(FEW_UPDATES / order.updates_per_epoch + 0.5)
        found.append(
            f"only {order.num_updates} updates at learning rate {train.peak_learning_rate:g}: "
            "an identity will hardly take; "
            f"use --learning_rate 5e-4 or --num_train_epochs {max(epochs, 1)}"
        )
    if train.save_strategy == "steps" and train.save_steps > order.num_updates:
        found.append(
            f"--save_steps {train.save_steps} is never reached in {order.num_updates} updates; "
            "the end is saved all the same"
        )
    return found
