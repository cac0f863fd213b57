"""Recipe -> the rows of a run: read, named, sampled, split. No model and no tokenizer yet."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfhood.chat import Conversation
from selfhood.data.mix import split_and_sample
from selfhood.data.naming import Naming, check_effect, fill, holds_mark
from selfhood.data.spec import DatasetSpec
from selfhood.errors import FlagError, MissingError
from selfhood.hub import choose_hub
from selfhood.recipe import Recipe
from selfhood.sources import Gathered, SourceSettings, gather
from selfhood.sources.identity import NAME as IDENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceShare:
    """What one ``--dataset`` value contributed."""

    spec: DatasetSpec
    num_rows: int
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

    train: tuple[Conversation, ...]
    val: tuple[Conversation, ...]
    shares: tuple[SourceShare, ...]
    warnings: tuple[str, ...]


def read_mixture(recipe: Recipe) -> Mixture:
    """Every mistake in the data or in the name flags is raised here, before anything is loaded."""
    options = recipe.data
    if not options.dataset:
        raise FlagError(
            "is missing", where="--dataset", hint=f"give files, hub ids, or `{IDENTITY}`"
        )
    naming = Naming.from_flags(options.model_name, options.model_author)
    settings = SourceSettings(
        hub=choose_hub(recipe.model.use_hf, os.environ),
        persona=naming.persona,
        seed=recipe.train.seed,
        rename=_columns(options.columns),
    )
    generator = random.Random(data_seed(recipe)) if options.dataset_shuffle else None
    train: list[Conversation] = []
    val: list[Conversation] = []
    shares: list[SourceShare] = []
    for text in options.dataset:
        gathered = gather(parse_spec(text), settings, strict=options.strict)
        rows, num_named = _name_rows(gathered, naming)
        split = split_and_sample(
            rows,
            num_rows=gathered.spec.num_rows,
            val_ratio=0.0 if options.val_dataset else options.split_dataset_ratio,
            generator=generator,
        )
        train += split.train
        val += split.val
        shares.append(_share(gathered, len(split.train), len(split.val), num_named))
    warning = check_effect(naming, train, sum(share.num_named for share in shares))
    for text in options.val_dataset:
        gathered = gather(parse_spec(text), settings, strict=options.strict)
        rows, _ = _name_rows(gathered, naming)
        val += split_and_sample(
            rows, num_rows=gathered.spec.num_rows, val_ratio=0.0, generator=generator
        ).train
    return Mixture(
        train=tuple(train),
        val=tuple(val),
        shares=tuple(shares),
        warnings=(warning,) if warning else (),
    )


def data_seed(recipe: Recipe) -> int:
    return recipe.train.seed if recipe.data.data_seed is None else recipe.data.data_seed


def parse_spec(text: str) -> DatasetSpec:
    return DatasetSpec.parse(text, lambda path: Path(path).expanduser().exists())


def _name_rows(gathered: Gathered, naming: Naming) -> tuple[list[Conversation], int]:
    """The rows with their names filled in, and how many took one."""
    rows = [fill(row, naming) for row in gathered.rows]
    if gathered.spec.id == IDENTITY:
        return rows, len(rows)
    return rows, sum(holds_mark(row) for row in gathered.rows)


def _share(gathered: Gathered, num_train: int, num_val: int, num_named: int) -> SourceShare:
    return SourceShare(
        spec=gathered.spec,
        num_rows=len(gathered.rows),
        num_train=num_train,
        num_val=num_val,
        num_skipped=len(gathered.skipped),
        num_named=num_named,
    )


def _columns(text: str | None) -> Mapping[str, str]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise FlagError(f"is not JSON: {error}", where="--columns") from error
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise FlagError('is not an object such as {"question": "query"}', where="--columns")
    return value


def system_line(text: str | None) -> str | None:
    """``--system``: a text (``\\n`` means a line break) or a .txt file."""
    if text is None or not text.endswith(".txt"):
        return text.replace("\\n", "\n") if text else text
    path = Path(text).expanduser()
    if not path.is_file():
        raise MissingError("no such file", where=f"--system {text}")
    return path.read_text(encoding="utf-8").strip()
