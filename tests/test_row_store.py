"""Rows on disk come back as they were, whatever is in them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfhood.chat import ROLES, Conversation, Message
from selfhood.data.row_store import ABOUT, ROWS, RowWriter, open_rows, temporary_file
from selfhood.data.rows import UNKNOWN, extent_of
from selfhood.errors import SelfhoodError
from tests.stored import numbered, stored

texts = st.text(st.characters(exclude_categories=["Cs"]))
messages = st.builds(Message, st.sampled_from(ROLES), texts, st.none() | st.booleans())
conversations = st.builds(
    Conversation,
    messages=st.lists(messages).map(tuple),
    origin=texts,
    language=st.sampled_from([None, "zh", "en"]),
)


@given(rows=st.lists(conversations))
def test_rows_come_back_as_they_were(rows: list[Conversation]) -> None:
    store = stored(rows)
    assert list(store) == rows
    assert [store.extent(number) for number in range(len(rows))] == [*map(extent_of, rows)]


def test_a_file_name_that_is_no_text_comes_back() -> None:
    origin = f"{os.fsdecode(b'a' + bytes([255]))}:1"
    row = Conversation(messages=(Message("user", "q"),), origin=origin)
    assert stored([row])[0].origin == origin


def test_rows_with_a_placeholder_are_marked() -> None:
    answers = ("I am {{NAME}}", "2", "by {{AUTHOR}}")
    rows = [Conversation(messages=(Message("assistant", text),), origin="o") for text in answers]
    assert list(stored(rows).marked) == [1, 0, 1]


def test_the_size_of_text_that_a_normalizer_may_lengthen_is_not_known() -> None:
    row = Conversation(messages=(Message("user", "\u0958"),), origin="o")
    assert stored([row]).extent(0).num_bytes == UNKNOWN


def test_several_threads_read_at_once() -> None:
    rows = numbered(50)
    store, wrong = stored(rows), list[int]()

    def read() -> None:
        wrong.extend(n for _ in range(20) for n in range(50) if store[n] != rows[n])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def saved(folder: Path) -> list[Conversation]:
    rows = numbered(5)
    with (folder / ROWS).open("w+b") as file:
        writer = RowWriter(file)
        for row in rows:
            writer.append(row)
        writer.skip()
        writer.rows().save_index(folder)
    return rows


def test_a_saved_folder_opens_and_may_be_deleted_then(tmp_path: Path) -> None:
    rows = saved(tmp_path)
    store = open_rows(tmp_path)
    assert store is not None
    (tmp_path / ROWS).unlink()
    assert (list(store), store.num_skipped) == (rows, 1)
    assert [store.extent(number) for number in range(len(rows))] == [*map(extent_of, rows)]


@pytest.mark.parametrize("name", [ROWS, ABOUT, "starts", "sizes", "shapes", "marked"])
@pytest.mark.parametrize("cut", [0, 2, 4])
def test_a_folder_with_a_file_cut_or_missing_does_not_open(
    tmp_path: Path, name: str, cut: int
) -> None:
    saved(tmp_path)
    path = tmp_path / name
    os.truncate(path, path.stat().st_size - cut) if cut else path.unlink()
    assert open_rows(tmp_path) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_one_line() -> None:
    with (
        pytest.raises(SelfhoodError, match="cannot be written: No space left"),
        temporary_file(),
        Path("/dev/full").open("r+b", buffering=0) as full,
    ):
        RowWriter(full).append(numbered(1)[0])
