"""What a run will do, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selfhood.chat import Conversation
from selfhood.data.encode import Encoded, Lengths, Sample, encode_all
from selfhood.data.mix import Order
from selfhood.data.mixture import Mixture, data_seed
from selfhood.data.naming import naming_of
from selfhood.data.render import Renderer
from selfhood.data.rows import Rows
from selfhood.errors import FlagError, InputError
from selfhood.model.load import (
    best_device,
    context_length,
    load_config,
    load_tokenizer,
    overrides_dtype,
)
from selfhood.recipe import PROMPT_TUNERS, Recipe, TrainOptions, TunerOptions
from selfhood.training.anchor import AnchorPlan, plan_anchor
from selfhood.training.fit import Demand, Fit, fit
from selfhood.training.layout import Layout, layout_of
from selfhood.training.shares import shares

# Measured on the starter model at the tutorials' learning rate: 7 updates teach nothing, 32 most of
# the identity (docs/results/dose.md).
FEW_UPDATES = 30

MANY_ROWS = 1000  # of which some hold several turns where any do

LORA_NUMBERS = ("lora_rank", "lora_alpha", "lora_dropout", "target_modules", "init_weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rows, tokens and updates of a run, and what is worth a warning."""

    recipe: Recipe
    model_path: Path
    renderer: Renderer
    mixture: Mixture
    samples: Sequence[Sample]
    val_samples: Sequence[Sample]
    lengths: Lengths
    """Of all samples, or of some of a great many."""
    longest: int
    """No sample has more tokens."""
    anchor: AnchorPlan
    order: Order
    layout: Layout
    fit: Fit
    num_processes: int
    num_deleted: int
    num_truncated: int
    warnings: tuple[str, ...]

    @property
    def is_estimate(self) -> bool:
        """Whether ``lengths`` are those of some samples only."""
        return len(self.lengths.tokens) < len(self.samples)

    def first_update(self) -> tuple[int, int, int]:
        """Tokens as written, tokens as computed, passes of a process: what the schedule saves."""
        samples = [self.samples[number] for number in next(self.order.updates())]
        samples += self.anchor.rows(1)
        packs = [
            self.layout.lay_out(share, self.fit.budget.tokens)
            for share in shares(samples, self.num_processes)
        ]
        written = sum(len(sample.ids) for sample in samples)
        computed = sum(each.num_tokens for share in packs for each in share)
        return written, computed, max(map(len, packs))


def make_plan(recipe: Recipe, mixture: Mixture, model_path: Path, *, num_processes: int) -> Plan:
    """Find out which rows are trained and lay the updates out."""
    config = load_config(model_path)
    layout = layout_of(config)
    _check_tuner(recipe.tuner.tuner_type, layout)
    renderer = Renderer(load_tokenizer(model_path), recipe.model.system)
    encoded = _encode(mixture.train, renderer, recipe, config)
    if not encoded.samples:
        raise InputError(
            f"every row is longer than {_longest(recipe, config)} tokens",
            where="--max_length",
            hint="raise it or set --truncation_strategy",
        )
    order = Order(
        num_samples=len(encoded.samples),
        samples_per_update=recipe.train.samples_per_update(num_processes),
        epochs=recipe.train.num_train_epochs,
        max_steps=recipe.train.max_steps,
        seed=data_seed(recipe),
        shuffle=recipe.data.dataset_shuffle,
    )
    if mixture.anchor:
        _check_anchor(recipe)
    elif recipe.tuner.is_aimed:
        raise FlagError(
            "needs rows to tell the others from",
            where="--init_weights contrastive",
            hint="add --anchor 320",
        )
    anchor = plan_anchor(
        _anchored(mixture, recipe, renderer),
        renderer,
        per_update=recipe.data.anchor_batch_size,
        weight=recipe.data.anchor_weight,
    )
    demand = _demand(encoded, order, anchor, layout, num_processes)
    return Plan(
        recipe=recipe,
        model_path=model_path,
        renderer=renderer,
        mixture=mixture,
        samples=encoded.samples,
        val_samples=_encode(mixture.val, renderer, recipe, config).samples,
        lengths=encoded.lengths,
        longest=encoded.longest,
        anchor=anchor,
        order=order,
        layout=layout,
        fit=fit(recipe, config, demand, best_device()),
        num_processes=num_processes,
        num_deleted=encoded.num_deleted,
        num_truncated=encoded.num_truncated,
        warnings=(*mixture.warnings, *_warnings(recipe, mixture, renderer, order, layout)),
    )


def _check_tuner(tuner: str, layout: Layout) -> None:
    if tuner in PROMPT_TUNERS and (layout.windows is not None or layout.obstacle is not None):
        raise InputError(
            "virtual tokens need a model in which every layer sees the whole row",
            where=f"--tuner_type {tuner}",
            hint="use --tuner_type lora",
        )


def _anchored(mixture: Mixture, recipe: Recipe, renderer: Renderer) -> Sequence[Conversation]:
    """The mixture's rows of the anchor, and those that depend on how names are cut into tokens."""
    persona = naming_of(recipe).persona
    if persona is None or not mixture.anchor:
        return mixture.anchor
    from selfhood.data.anchor_begun import with_begun

    return with_begun(mixture.anchor, persona, renderer.tokenizer, seed=recipe.train.seed)


def _check_anchor(recipe: Recipe) -> None:
    """The base has to be there while it is trained on: under an adapter that can be switched off,
    whole in each process, and with the head that its hidden states belong to."""
    tuner = recipe.tuner
    if tuner.tuner_type == "full" or recipe.train.has_parts or tuner.modules_to_save:
        raise InputError(
            "keeps the base's answers under an adapter that leaves its own weights alone",
            where="--anchor",
            hint="drop --modules_to_save, --fsdp and --deepspeed, use --tuner_type lora; or "
            "--anchor 0",
        )


def _demand(
    encoded: Encoded, order: Order, anchor: AnchorPlan, layout: Layout, num_processes: int
) -> Demand:
    """Judged by the first update and the longest row."""
    first = [encoded.samples[number] for number in next(order.updates())]
    share = shares([*first, *anchor.rows(1)], num_processes)[0]
    longest = max([encoded.longest, *(len(sample.ids) for sample in anchor.stand_ins)])

    def passes(tokens: int) -> list[int]:
        return [each.num_tokens for each in layout.lay_out(share, tokens)]

    return Demand(longest=longest, update=len(share) * longest, passes=passes)


def _encode(rows: Rows, renderer: Renderer, recipe: Recipe, config: Any) -> Encoded:
    return encode_all(
        rows,
        renderer,
        max_length=_longest(recipe, config),
        truncation=recipe.data.truncation_strategy,
    )


def _longest(recipe: Recipe, config: Any) -> int:
    """Tokens a row may have: ``--max_length``, and never more than the model holds."""
    asked, held = recipe.data.max_length, context_length(config)
    return held if asked is None else min(asked, held)


def _warnings(
    recipe: Recipe, mixture: Mixture, renderer: Renderer, order: Order, layout: Layout
) -> list[str]:
    train = recipe.train
    found: list[str] = []
    if layout.obstacle is not None:
        found.append(f"the model {layout.obstacle}: it cannot be packed; rows are padded")
    if overrides_dtype(recipe.model.torch_dtype):
        found.append(
            f"--torch_dtype {recipe.model.torch_dtype}: this CPU has no fast 16-bit units; "
            "computing in float32, which is faster here and more exact"
        )
    if renderer.drops_thoughts and any(map(_is_talk, islice(mixture.train, MANY_ROWS))):
        found.append(
            "the chat template drops the thoughts of earlier turns: "
            "of a row with several turns only the last reply is trained"
        )
    untouched = TunerOptions()
    idle = [
        name for name in LORA_NUMBERS if getattr(recipe.tuner, name) != getattr(untouched, name)
    ]
    if idle and recipe.tuner.tuner_type != "lora":
        flags = ", ".join(f"--{name}" for name in idle)
        found.append(f"{flags}: says nothing to --tuner_type {recipe.tuner.tuner_type}")
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
    is_typed = train.save_steps != TrainOptions().save_steps
    if is_typed and train.save_strategy == "steps" and train.save_steps > order.num_updates:
        found.append(
            f"--save_steps {train.save_steps} is never reached in {order.num_updates} updates; "
            "the end is saved all the same"
        )
    return found


def _is_talk(row: Conversation) -> bool:
    return sum(message.role == "assistant" for message in row.messages) > 1
