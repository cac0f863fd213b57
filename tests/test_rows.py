"""Sequences that make their items late are sequences all the same."""

from __future__ import annotations

import pytest

from selfhood.data.rows import Chained, Chosen, Lazy

WORDS = Chained([["a", "b"], [], Chosen(["x", "y", "z"], [2, 0, 2])])


def test_parts_and_choices_follow_each_other() -> None:
    assert list(WORDS) == ["a", "b", "z", "x", "z"]
    assert len(WORDS) == 5


@pytest.mark.parametrize("key", [slice(3), slice(-2, None), slice(None, None, -1), slice(9, 12)])
def test_a_slice_is_that_of_a_tuple(key: slice) -> None:
    assert WORDS[key] == tuple(WORDS)[key]


def test_numbers_count_from_either_end_and_no_further() -> None:
    assert (WORDS[0], WORDS[-1], WORDS[-5]) == ("a", "z", "a")
    for number in (5, -6):
        with pytest.raises(IndexError):
            WORDS[number]


def test_an_item_is_made_only_when_it_is_asked_for() -> None:
    made: list[int] = []

    class Squares(Lazy[int]):
        def __len__(self) -> int:
            return 10**9

        def item(self, number: int) -> int:
            made.append(number)
            return number * number

    assert Chained([Squares(), Chosen(Squares(), [7])])[-1] == 49
    assert made == [7]
