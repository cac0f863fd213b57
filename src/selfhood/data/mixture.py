"""Recipe -> the rows of a run: read, named, sampled, split. No model and no tokenizer yet."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfhood.chat import Conversation
from selfhood.data.mix import Split, split_and_sample
from selfhood.data.naming import Naming, check_effect, naming_of, unquoted
from selfhood.data.rows import Chained, Chosen, Named, Rows
from selfhood.data.spec import DatasetSpec
from selfhood.errors import FlagError
from selfhood.files import read_json
from selfhood.hub import choose_hub
from selfhood.recipe import DataOptions, Recipe
from selfhood.sources import Gathered, SourceSettings, gather
from selfhood.sources.identity import NAME as IDENTITY

ANCHOR = "anchor"
USUAL_NUMBER = 1200
"""Rows of an anchor that nobody gives a number: nearly all that are bundled, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShare:
    """What one ``--dataset`` value contributed."""

    spec: DatasetSpec
    num_rows: int
    """Good rows read; ``num_named`` of those that are used took the name."""
    num_train: int
    num_val: int
    num_skipped: int
    num_named: int

    @property
    def is_repeated(self) -> bool:
        return self.num_train + self.num_val > self.num_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """All rows of a run, in source order, and where they came from."""

    train: Rows
    val: Rows
    anchor: tuple[Conversation, ...]
    """Prompts, which end with the user's turn, and texts."""
    shares: tuple[SourceShare, ...]
    warnings: tuple[str, ...]


def read_mixture(recipe: Recipe) -> Mixture:
    """Every mistake in the data or in the name flags is raised here, before anything is loaded."""
    options = recipe.data
    if not options.dataset:
        raise FlagError(
            "is missing", where="--dataset", hint=f"give files, hub ids, or `{IDENTITY}`"
        )
    naming = naming_of(recipe)
    settings = SourceSettings(
        hub=choose_hub(recipe.model.use_hf, os.environ),
        persona=naming.persona,
        seed=recipe.train.seed,
        rename=_columns(options.columns),
    )
    generator = random.Random(data_seed(recipe)) if options.dataset_shuffle else None
    train: list[Rows] = []
    val: list[Rows] = []
    shares: list[SourceShare] = []
    takes_name = False
    for text in options.dataset:
        if is_anchor(text):
            continue
        gathered = gather(parse_spec(text), settings, strict=options.strict)
        rows, named = _name_rows(gathered, naming)
        split = split_and_sample(
            len(rows),
            num_rows=gathered.spec.num_rows,
            val_ratio=0.0 if options.val_dataset else options.split_dataset_ratio,
            # `identity` comes in a seeded order whose every prefix is balanced; a random subset
            # would lose the balance.
            generator=None if gathered.spec.id == IDENTITY else generator,
        )
        train.append(Chosen(rows, split.train))
        val.append(Chosen(rows, split.val))
        shares.append(_share(gathered, split, named))
        takes_name = takes_name or any(named)
    warnings = [
        check_effect(naming, Chained(train), takes_name),
        *(unquoted(flag, value) for flag, value in naming.items),
        _unused_ratio(options),
    ]
    for text in options.val_dataset:
        gathered = gather(parse_spec(text), settings, strict=options.strict)
        rows, _ = _name_rows(gathered, naming)
        split = split_and_sample(
            len(rows), num_rows=gathered.spec.num_rows, val_ratio=0.0, generator=generator
        )
        val.append(Chosen(rows, split.train))
    return Mixture(
        train=Chained(train),
        val=Chained(val),
        anchor=_anchor(recipe, naming),
        shares=tuple(shares),
        warnings=tuple(warning for warning in warnings if warning),
    )


def _anchor(recipe: Recipe, naming: Naming) -> tuple[Conversation, ...]:
    num = num_anchor(recipe.data)
    if not num:
        return ()
    from selfhood.data.anchor_rows import anchor_rows  # felt where a wrong flag is answered

    return tuple(anchor_rows(naming.persona, num=num, seed=recipe.train.seed))


def is_anchor(dataset: str) -> bool:
    return dataset.partition("#")[0] == ANCHOR


def num_anchor(options: DataOptions) -> int:
    """Prompts of the anchor: those of ``--anchor``, and of ``anchor`` or ``anchor#N`` among the
    datasets."""
    specs = [parse_spec(text) for text in options.dataset if is_anchor(text)]
    asked = sum(USUAL_NUMBER if spec.num_rows is None else spec.num_rows for spec in specs)
    return asked + (options.anchor or 0)


def data_seed(recipe: Recipe) -> int:
    return recipe.train.seed if recipe.data.data_seed is None else recipe.data.data_seed


def parse_spec(text: str) -> DatasetSpec:
    return DatasetSpec.parse(text, lambda path: Path(path).expanduser().exists())


def _name_rows(gathered: Gathered, naming: Naming) -> tuple[Named, Sequence[int]]:
    """The rows with their names filled in, and for each of them whether it took one."""
    rows, marked = Named(gathered.rows, naming), gathered.rows.marked
    if naming.persona is None:
        for number in itertools.compress(range(len(rows)), marked):
            rows[number]  # a placeholder that nothing replaces is an error now, not in an update
    return rows, bytes([1]) * len(rows) if gathered.spec.id == IDENTITY else marked


def _share(gathered: Gathered, split: Split, named: Sequence[int]) -> SourceShare:
    return SourceShare(
        spec=gathered.spec,
        num_rows=len(gathered.rows),
        num_train=len(split.train),
        num_val=len(split.val),
        num_skipped=gathered.rows.num_skipped,
        num_named=sum(named[number] for numbers in (split.train, split.val) for number in numbers),
    )


def _unused_ratio(options: DataOptions) -> str | None:
    if options.val_dataset and options.split_dataset_ratio:
        return "--split_dataset_ratio has no effect beside --val_dataset: all of --dataset trains"
    return None


def _columns(text: str | None) -> Mapping[str, str]:
    """``--columns``: an object as JSON, or a .json file with it."""
    if text is None:
        return {}
    if text.endswith(".json"):
        value = read_json(Path(text).expanduser())
    else:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise FlagError(f"is not JSON: {error}", where="--columns") from error
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise FlagError('is not an object such as {"question": "query"}', where="--columns")
    return value
