"""A large file trains as a small one does: the same samples in the same order, in little memory."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from selfhood import api
from selfhood.chat import Conversation
from selfhood.data import encode as encoding
from selfhood.data import row_cache
from selfhood.data.encode import Sample, encode, encode_all
from selfhood.data.mixture import read_mixture
from selfhood.data.render import Renderer
from selfhood.errors import DataError
from selfhood.recipe import Recipe
from selfhood.training.plan import Plan
from tests.stored import numbered, stored
from tests.tiny import tiny_model
from tests.tiny_training import tokenizer

MODEL, DATA = Path("tiny"), Path("big.jsonl")
NAMES = {"model_name": ("小狐",), "model_author": ("林间",)}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFHOOD_CACHE", str(tmp_path / "cache"))


def write(count: int) -> None:
    generator = random.Random(1)
    with DATA.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {
                "query": f"{number} 是什么？" * generator.randint(1, 9),
                "response": f"I am {{{{NAME}}}}, {number}. " * generator.randint(1, 9),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def plan(**values: Any) -> Plan:
    options = {"model": str(MODEL), "dataset": (f"{DATA}#90", "identity#9"), **NAMES, **values}
    return api.plan(Recipe.from_values(options))


def trained(plan: Plan) -> list[list[Sample]]:
    """Every update of the plan, as the loop takes it."""
    return [[plan.samples[number] for number in numbers] for numbers in plan.order.updates()]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a few rows elsewhere is a great many here, and each is forgotten at once."""
    monkeypatch.setattr(encoding, "FEW_ROWS", 10)
    monkeypatch.setattr(encoding, "NUM_DRAWN", 5)
    monkeypatch.setattr(encoding, "TOKENS_REMEMBERED", 0)
    monkeypatch.setattr(row_cache, "LARGE_BYTES", 1)


@pytest.mark.parametrize("truncation", ["delete", "right"])
def test_rows_encoded_late_are_those_encoded_at_once_in_the_same_updates(
    request: pytest.FixtureRequest, truncation: str
) -> None:
    tiny_model(MODEL)
    write(100)
    options = {"max_length": 300, "truncation_strategy": truncation, "split_dataset_ratio": 0.1}
    few = plan(**options)
    assert not few.is_estimate
    assert few.num_deleted if truncation == "delete" else few.num_truncated
    request.getfixturevalue("many")
    for large in (plan(**options), plan(**options)):  # the second one's rows are out of the cache
        assert large.is_estimate
        assert trained(large) == trained(few)
        assert list(large.val_samples) == list(few.val_samples)
        assert large.mixture.shares == few.mixture.shares
        assert (large.num_deleted, large.num_truncated) == (few.num_deleted, few.num_truncated)
    assert len(list(Path("cache/rows").glob("*/rows.jsonl"))) == 1


def test_two_plans_of_one_recipe_are_the_same() -> None:
    tiny_model(MODEL)
    write(100)
    assert trained(plan()) == trained(plan())
    assert trained(plan()) != trained(plan(data_seed=7))


def test_samples_are_those_of_a_loop_that_encodes_every_row() -> None:
    rows = numbered(300)
    renderer = Renderer(tokenizer(), "S")
    encoded = encode_all(stored(rows), renderer, max_length=300, truncation="delete")
    expected = [sample for row in rows if len((sample := encode(row, renderer)).ids) <= 300]
    assert 100 < len(expected) < 300
    assert list(encoded.samples) == expected
    assert encoded.num_deleted == 300 - len(expected)
    assert encoded.longest == max(len(sample.ids) for sample in expected)


@pytest.mark.usefixtures("many")
def test_rows_that_surely_fit_are_not_tokenised_before_they_are_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[str] = []

    def counted(row: Any, renderer: Renderer) -> Sample:
        encoded.append(row.origin)
        return encode(row, renderer)

    monkeypatch.setattr(encoding, "encode", counted)
    result = encode_all(
        stored(numbered(300)), Renderer(tokenizer()), max_length=600, truncation="delete"
    )
    assert len(encoded) < 100
    before = len(encoded)
    assert len(result.samples[0].ids) < 600
    assert len(encoded) == before + 1


@pytest.mark.usefixtures("many")
def test_a_row_whose_roles_the_template_refuses_stops_even_large_data_before_training() -> None:
    rows = numbered(50)
    bad = rows[40].messages[1:]
    with pytest.raises(DataError, match="no question comes before the answer"):
        encode_all(
            stored([*rows, Conversation(messages=bad, origin="bad.json:1")]),
            Renderer(tokenizer()),
            max_length=400,
            truncation="delete",
        )


def test_ten_thousand_rows_take_little_memory() -> None:
    write(10_000)
    recipe = Recipe.from_values({"dataset": (str(DATA),), **NAMES})
    tracemalloc.start()
    try:
        mixture = read_mixture(recipe)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(mixture.train) == 10_000
    assert peak < 1 << 20, "as objects these rows would be some 10 MB"
