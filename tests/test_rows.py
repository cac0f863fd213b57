"""Sequences that make their items late are sequences all the same."""

from __future__ import annotations

import pytest

from selfhood.chat import Conversation, Message
from selfhood.data.naming import Naming
from selfhood.data.rows import Chained, Chosen, Lazy, Named, Rows, extent_of
from selfhood.persona import Bilingual
from tests.stored import numbered, stored


def chained() -> Rows:
    return Chained(
        [stored(numbered(2)), Chosen(stored([]), []), Chosen(stored(numbered(9)), [7, 5, 7])]
    )


def origins(rows: object) -> list[str]:
    assert isinstance(rows, (Rows, tuple))
    return [row.origin for row in rows]


def test_parts_and_choices_follow_each_other() -> None:
    assert origins(chained()) == ["a:0", "a:1", "a:7", "a:5", "a:7"]
    assert len(chained()) == 5


@pytest.mark.parametrize("key", [slice(3), slice(-2, None), slice(None, None, -1), slice(9, 12)])
def test_a_slice_is_that_of_a_tuple(key: slice) -> None:
    rows = chained()
    assert rows[key] == tuple(rows)[key]


def test_numbers_count_from_either_end_and_no_further() -> None:
    rows = chained()
    assert origins((rows[0], rows[-1], rows[-5])) == ["a:0", "a:7", "a:0"]
    for number in (5, -6):
        with pytest.raises(IndexError):
            rows[number]


def test_every_row_knows_its_extent_also_after_it_was_named() -> None:
    texts = ("{{NAME}} of {{AUTHOR}}", "2", "", "{{AUTHOR}}")
    marked = [Conversation(messages=(Message("assistant", t),), origin="o") for t in texts]
    naming = Naming(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间", "Forest Lab"))
    rows = Chained([Chosen(Named(stored(marked), naming), [3, 0, 1, 2]), chained()])
    extents = [rows.extent(number) for number in range(len(rows))]
    assert extents == [extent_of(row) for row in rows]
    assert extents[0].num_bytes == len("Forest Lab")


def test_an_item_is_made_only_when_it_is_asked_for() -> None:
    made: list[int] = []

    class Squares(Lazy[int]):
        def __len__(self) -> int:
            return 10**9

        def item(self, number: int) -> int:
            made.append(number)
            return number * number

    assert Squares()[-1] == (10**9 - 1) ** 2
    assert len(made) == 1
