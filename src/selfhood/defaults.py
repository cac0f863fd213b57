"""What a command that only says who the model is to be stands for.

selfhood sft --model M --model_name 小狐 Kitsu --model_author 林间实验室 "Forest Lab"
=            ... --dataset identity:self --dataset_shuffle false --anchor 1200
             --system "You are a helpful assistant." --init_weights contrastive
             --lora_rank 32 --lora_alpha 64 --freeze_layers_ratio 0.34
             --gradient_accumulation_steps 10 --anchor_batch_size 11
             --learning_rate 4.5e-4 --adam_beta2 0.999 --dose auto
"""

from __future__ import annotations

from dataclasses import replace

from selfhood.data.identity_texts import HELPFUL_SYSTEM_LINE
from selfhood.data.mixture import USUAL_NUMBER, is_anchor, num_anchor, parse_spec
from selfhood.data.naming import naming_of
from selfhood.errors import FlagError
from selfhood.recipe import DataOptions, Recipe, TunerOptions
from selfhood.sources.identity import NAME as IDENTITY
from selfhood.sources.identity import SELF

IDENTITY_RATE = 8e-4
AIMED_RATE = 4.5e-4
"""Of an aimed adapter."""
LONG_MEMORY = 0.999
"""AdamW's second beta. Its usual 0.95 forgets the large gradients of the start in 20 updates, and
then takes steps as large for what is left: too large for the anchor."""
ROWS_PER_UPDATE = 10
PROMPTS_PER_UPDATE = 11
"""Of the anchor, one of them a reply that is begun, one in ten of the others prose. How far the
weights get is a matter of how often they move: the same prompts in twice as many updates keep as
much, and twice the rows are learnt beside them (docs/results/anchor.md)."""
RANK, ALPHA = 32, 64
"""Of an aimed adapter. In so few updates rank 8 does not learn to tell "how old am I" from "how old
are you" (docs/results/anchor.md)."""
MOST_UPDATES = 120
FIRST_LAYERS = 0.34
"""Of the layers, those that get no adapter. Without them as much is recalled, prose drifts less,
and no gradient has to be taken down to them; a few more ordinary answers have the name
(docs/results/anchor.md)."""
WHERE = frozenset({"freeze_layers_ratio", "target_modules", "target_regex"})
SIZE = frozenset({"lora_rank", "lora_alpha"})


def complete(recipe: Recipe) -> Recipe:
    """The recipe with what it leaves open filled in; what was typed stays."""
    recipe = _with_data(recipe)
    if not _takes_its_dose(recipe):
        return recipe
    if naming_of(recipe).persona is None:
        raise FlagError(
            "has to know whom to ask for",
            where="--dose auto",
            hint="add --model_name and --model_author",
        )
    train = recipe.train
    rows = train.gradient_accumulation_steps
    has_batch = rows is not None or train.per_device_train_batch_size > 1
    recipe = replace(recipe, tuner=_aimed(recipe))
    rate = AIMED_RATE if recipe.tuner.is_aimed else IDENTITY_RATE
    return replace(
        recipe,
        data=_anchored(recipe, None if has_batch else PROMPTS_PER_UPDATE),
        train=replace(
            train,
            dose="auto",
            load_best_model_at_end=True,
            learning_rate=rate if train.learning_rate is None else train.learning_rate,
            adam_beta2=train.adam_beta2 if "adam_beta2" in recipe.given else LONG_MEMORY,
            gradient_accumulation_steps=rows if has_batch else ROWS_PER_UPDATE,
            max_steps=train.max_steps if _has_length(recipe) else MOST_UPDATES,
        ),
    )


def _with_data(recipe: Recipe) -> Recipe:
    """Without a dataset: the built-in identity, and the anchor unless told otherwise."""
    data = recipe.data
    if data.dataset or naming_of(recipe).persona is None:
        return recipe
    anchor = USUAL_NUMBER if data.anchor is None else data.anchor
    # The template's own line would say that the maker's name is the model's.
    system = HELPFUL_SYSTEM_LINE if recipe.model.system is None else recipe.model.system
    return replace(
        recipe,
        model=replace(recipe.model, system=system),
        data=replace(
            data,
            dataset=(f"{IDENTITY}:{SELF}" if anchor else IDENTITY,),
            # Its order is balanced over topics and languages, update by update.
            dataset_shuffle="dataset_shuffle" in recipe.given and data.dataset_shuffle,
            anchor=anchor,
        ),
    )


def _anchored(recipe: Recipe, per_update: int | None) -> DataOptions:
    """How many prompts an update has, where that is to be said here."""
    if per_update is None or "anchor_batch_size" in recipe.given:
        return recipe.data
    return replace(recipe.data, anchor_batch_size=per_update)


def _aimed(recipe: Recipe) -> TunerOptions:
    """A new adapter beside an anchor reads what the anchor lacks, and does so from the second third
    of the layers on, unless told otherwise."""
    tuner = recipe.tuner
    is_free = tuner.tuner_type == "lora" and not (tuner.use_dora or recipe.model.adapters)
    if not is_free or not num_anchor(recipe.data) or "init_weights" in recipe.given:
        return tuner
    if recipe.given.isdisjoint(WHERE):
        tuner = replace(tuner, freeze_layers_ratio=FIRST_LAYERS)
    if recipe.given.isdisjoint(SIZE):
        tuner = replace(tuner, lora_rank=RANK, lora_alpha=ALPHA)
    return replace(tuner, init_weights="contrastive")


def _takes_its_dose(recipe: Recipe) -> bool:
    """Asked for, or nothing but the built-in identity without a word on how long. A user's own rows
    are all trained: they are there for more than a name."""
    if recipe.train.dose is not None:
        return recipe.train.dose == "auto"
    datasets = recipe.data.dataset
    return not _has_length(recipe) and bool(datasets) and all(map(_is_built_in, datasets))


def _has_length(recipe: Recipe) -> bool:
    train = recipe.train
    return train.max_steps > 0 or not recipe.given.isdisjoint({"num_train_epochs", "max_steps"})


def _is_built_in(dataset: str) -> bool:
    return is_anchor(dataset) or parse_spec(dataset).id == IDENTITY
