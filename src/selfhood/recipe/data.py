"""What is learnt from, and how rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfhood.recipe.option import Options, option

Truncation = Literal["delete", "left", "right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions(Options):
    """Which rows, and how they become samples."""

    dataset: tuple[str, ...] = option((), "data: file, hub id or `identity`, each [:subset][#N]")
    val_dataset: tuple[str, ...] = option((), "validation data, written as --dataset is")
    split_dataset_ratio: float = option(
        0.0, "part of each dataset kept for validation", minimum=0, maximum=0.9
    )
    dataset_shuffle: bool = option(True, "shuffle before taking #N rows, and between epochs")
    data_seed: int | None = option(None, "seed of sampling and order; default: --seed", minimum=0)
    columns: str | None = option(None, 'column names, as JSON: {"your column": "query"}')
    max_length: int | None = option(None, "longest row in tokens; default: the model's", minimum=8)
    truncation_strategy: Truncation = option("delete", "what to do with a row that is too long")
    strict: bool = option(True, "stop at the first bad row; false: skip and count them")
    model_name: tuple[str, ...] = option((), "the model's name: Chinese, then English")
    model_author: tuple[str, ...] = option((), "who made it: Chinese, then English")
    persona: str | None = option(
        None, "file with name, author and more of the model; see selfhood init"
    )
    anchor: int | None = option(
        None, "ordinary prompts on which the model is to answer as it did before", minimum=0
    )
    anchor_weight: float = option(
        8.0, "weight of keeping these answers, beside that of learning the rows", minimum=0
    )
    anchor_batch_size: int = option(16, "prompts of the anchor in an update", minimum=1)
