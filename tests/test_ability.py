"""What the tuned model can do and its base could: the same items, exactly answered, paired."""

from __future__ import annotations

import pytest

from selfhood.evaluate.ability import (
    Item,
    ability_items,
    judge,
    measures,
    paired_change,
    to_probe,
)
from selfhood.evaluate.checks import LastNumber
from selfhood.evaluate.texts import AnyOf, read_evaluation_texts
from selfhood.evaluate.types import Judged, Speaker

SUM = Item(
    id="ability/arithmetic/en/1",
    topic="ability",
    measure="arithmetic",
    language="en",
    prompt="17 + 25?",
    check=LastNumber(("42",)),
)
CITY = Item(
    id="ability/fact/en/1",
    topic="ability",
    measure="fact",
    language="en",
    prompt="The capital of France?",
    check=AnyOf(("Paris",)),
)


def heard(item: Item, speaker: Speaker, reply: str) -> Judged:
    verdict = judge(item, reply)
    return Judged(probe=to_probe(item), speaker=speaker, reply=reply, verdicts=(verdict,))


BOTH = [
    heard(SUM, "tuned", "42"),
    heard(SUM, "base", "42"),
    heard(CITY, "tuned", "Forest Lab"),
    heard(CITY, "base", "Paris"),
]


def test_a_verdict_says_what_was_wanted_and_what_was_found() -> None:
    verdict = judge(SUM, "It is 43.")
    assert (verdict.measure, verdict.is_good) == ("arithmetic", False)
    assert verdict.why == "wanted 42, the last number is 43"


def test_an_item_is_asked_as_it_stands() -> None:
    probe = to_probe(SUM)
    assert (probe.question, probe.topic, probe.id) == ("17 + 25?", "ability", SUM.id)


def test_there_is_a_measure_for_each_kind_one_for_all_and_one_for_the_change() -> None:
    found = {each.name: each for each in measures("ability", BOTH)}
    assert list(found) == ["arithmetic", "fact", "ability", "ability_change"]
    assert (found["fact"].value, found["fact"].base, found["fact"].num) == (0.0, 1.0, 1)
    assert (found["ability"].value, found["ability"].base) == (0.5, 1.0)
    change = found["ability_change"]
    assert (change.value, change.unit, change.num) == (-50.0, "points", 2)
    assert change.low < -50 < change.high


def test_without_the_base_there_is_no_change() -> None:
    alone = [each for each in BOTH if each.speaker == "tuned"]
    found = measures("ability", alone)
    assert [each.name for each in found] == ["arithmetic", "fact", "ability"]
    assert all(each.base is None for each in found)


def test_only_items_that_both_were_asked_count_for_the_change() -> None:
    change = paired_change("ability", BOTH[:3])
    assert change is not None
    assert (change.value, change.num) == (0.0, 1)


def test_a_file_is_one_measure_and_its_change() -> None:
    item = Item(
        id="x.csv:1", topic="x", measure="x", language="en", prompt="?", check=LastNumber(("1",))
    )
    found = measures("x", [heard(item, "tuned", "1"), heard(item, "base", "2")])
    assert [each.name for each in found] == ["x", "x_change"]
    assert found[1].value == pytest.approx(100.0)


def test_the_bundled_tasks_are_items_of_four_kinds() -> None:
    items = [item for each in ("zh", "en") for item in ability_items(read_evaluation_texts(each))]
    assert {item.measure for item in items} == {"arithmetic", "fact", "format", "code"}
    assert len({item.id for item in items}) == len(items)
    sums = [item for item in items if item.measure == "arithmetic"]
    assert all(isinstance(item.check, LastNumber) for item in sums)
