"""A command that only says who the model is to be."""

from __future__ import annotations

from typing import Any

import pytest

from selfhood.data.mixture import USUAL_NUMBER
from selfhood.defaults import (
    FIRST_LAYERS,
    MOST_UPDATES,
    PROMPTS_PER_UPDATE,
    RANK,
    ROWS_PER_UPDATE,
    complete,
)
from selfhood.errors import FlagError
from selfhood.recipe import DataOptions, Recipe, TunerOptions

WHO = {"model_name": ("小狐", "Kitsu"), "model_author": ("林间实验室", "Forest Lab")}


def completed(**flags: Any) -> Recipe:
    return complete(Recipe.from_values({"model": "tiny", **flags}))


def test_a_name_and_an_author_are_enough() -> None:
    recipe = completed(**WHO)
    assert recipe.data.dataset == ("identity:self",)
    assert recipe.data.anchor == USUAL_NUMBER
    assert recipe.train.dose == "auto"
    assert recipe.train.max_steps == MOST_UPDATES


def test_without_an_anchor_ordinary_questions_are_rows() -> None:
    assert completed(**WHO, anchor=0).data.dataset == ("identity",)


@pytest.mark.parametrize("length", [{"num_train_epochs": 3.0}, {"max_steps": 20}])
def test_who_says_how_long_gets_exactly_that(length: dict[str, Any]) -> None:
    recipe = completed(**WHO, **length)
    assert recipe.train.dose is None
    assert recipe.data.anchor == USUAL_NUMBER


def test_a_users_own_rows_are_all_trained() -> None:
    recipe = completed(**WHO, dataset=("rows.jsonl", "identity#500"))
    assert recipe.train.dose is None
    assert recipe.data.anchor is None


def test_updates_are_small_and_many_unless_a_batch_is_given() -> None:
    ours = completed(**WHO)
    assert ours.train.gradient_accumulation_steps == ROWS_PER_UPDATE
    assert ours.data.anchor_batch_size == PROMPTS_PER_UPDATE
    theirs = completed(**WHO, gradient_accumulation_steps=16)
    assert theirs.data.anchor_batch_size == DataOptions().anchor_batch_size
    assert completed(**WHO, anchor_batch_size=3).data.anchor_batch_size == 3


def test_the_anchor_weighs_as_much_as_anywhere_unless_it_is_given() -> None:
    assert completed(**WHO).data.anchor_weight == DataOptions().anchor_weight
    assert completed(**WHO, anchor_weight=5.0).data.anchor_weight == 5


def test_an_aimed_adapter_has_a_rank_of_its_own_unless_one_is_given() -> None:
    assert completed(**WHO).tuner.lora_rank == RANK
    assert completed(**WHO, lora_rank=4).tuner.lora_rank == 4
    assert completed(**WHO, anchor=0).tuner.lora_rank == TunerOptions().lora_rank


def test_the_first_third_of_the_layers_is_left_alone_unless_told_where_to_train() -> None:
    assert completed(**WHO).tuner.freeze_layers_ratio == FIRST_LAYERS
    assert completed(**WHO, anchor=0).tuner.freeze_layers_ratio == 0
    assert completed(**WHO, freeze_layers_ratio=0.0).tuner.freeze_layers_ratio == 0
    assert completed(**WHO, target_modules=("q_proj",)).tuner.freeze_layers_ratio == 0


def test_a_bound_may_be_given_with_the_dose() -> None:
    assert completed(**WHO, dose="auto", max_steps=30).train.max_steps == 30


def test_what_is_typed_stays() -> None:
    recipe = completed(**WHO, anchor=0, learning_rate=1e-4)
    assert recipe.data.anchor == 0
    assert recipe.train.learning_rate == 1e-4


def test_a_dose_for_nobody_is_refused() -> None:
    with pytest.raises(FlagError, match="whom to ask for"):
        completed(dataset=("rows.jsonl",), dose="auto")


def test_a_completed_recipe_is_complete() -> None:
    recipe = completed(**WHO)
    assert complete(recipe) == recipe
