"""A large file is read once; a file that changed is never taken for the old one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfhood.data import row_cache
from selfhood.data.columns import to_question
from selfhood.data.mixture import parse_spec
from selfhood.errors import DataError, InputError
from selfhood.hub import Hub
from selfhood.sources import SourceSettings, files, gather

DATA = Path("big.jsonl")


@pytest.fixture(autouse=True)
def everything_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFHOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(row_cache, "LARGE_BYTES", 1)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in order."""
    read: list[Path] = []

    def reader(path: Path) -> Iterator[Any]:
        read.append(path)
        yield from files._read_json(path)

    monkeypatch.setattr(files, "READERS", {".jsonl": reader})
    return read


def write(*answers: str) -> None:
    lines = [json.dumps({"query": "q", "response": answer}) for answer in answers]
    DATA.write_text("\n".join(lines), encoding="utf-8")


def answers(*, strict: bool = True, **values: Any) -> list[str]:
    settings = SourceSettings(hub=Hub.MODELSCOPE, persona=None, seed=1, **values)
    gathered = gather(parse_spec(str(DATA)), settings, strict=strict)
    return [row.turns[-1].content for row in gathered.rows]


def kept() -> list[Path]:
    folder = Path("cache/rows")
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def test_the_second_run_does_not_read_the_file(reads: list[Path]) -> None:
    write("a", "b")
    assert answers() == answers() == ["a", "b"]
    assert reads == [DATA]


def test_a_small_file_leaves_nothing_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "LARGE_BYTES", 1 << 20)
    write("a")
    assert (answers(), kept()) == (["a"], [])


def test_a_file_that_changed_is_read_again_even_if_size_and_time_are_the_old_ones() -> None:
    write("a", "b")
    stat = DATA.stat()
    assert answers() == ["a", "b"]
    write("c", "d")
    os.utime(DATA, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert DATA.stat().st_size == stat.st_size
    assert answers() == ["c", "d"]


def test_what_decides_how_rows_are_read_decides_what_is_kept(reads: list[Path]) -> None:
    DATA.write_text('{"query": "q", "response": "a", "other": "b"}\n')
    assert answers() == ["a"]
    assert answers(rename={"other": "answers", "response": "unused"}) == ["b"]
    assert answers(read_row=to_question) == ["a"]
    assert len(reads) == 3


def test_bad_rows_that_were_skipped_once_stop_a_strict_run() -> None:
    write("a")
    with DATA.open("a") as file:
        file.write("\n{broken")
    assert answers(strict=False) == answers(strict=False) == ["a"]
    with pytest.raises(DataError, match=r"big.jsonl:2:2: not JSON"):
        answers()


def test_a_file_with_a_mistake_leaves_nothing_behind() -> None:
    DATA.write_text("{broken")
    with pytest.raises(DataError):
        answers()
    assert kept() == []


def test_a_file_that_grows_while_it_is_read_is_an_error_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def reader(path: Path) -> Iterator[Any]:
        yield from files._read_json(path)
        with DATA.open("a") as file:
            file.write("\n")

    monkeypatch.setattr(files, "READERS", {".jsonl": reader})
    write("a")
    with pytest.raises(InputError, match=r"big.jsonl: changed while it was read"):
        answers()
    assert kept() == []


def test_a_damaged_entry_is_made_anew(reads: list[Path]) -> None:
    write("a", "b")
    answers()
    os.truncate(kept()[0] / "rows.jsonl", 10)
    assert answers() == answers() == ["a", "b"]
    assert len(reads) == 2


def test_what_was_not_used_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ("a", "b"):
        write(answer)
        answers()
    old, older = kept()
    os.utime(old, (2, 2))
    os.utime(older, (1, 1))
    size = sum(path.stat().st_size for path in old.iterdir())
    monkeypatch.setattr(row_cache, "MOST_BYTES", 2 * size)
    write("c")
    assert answers() == ["c"]
    assert old.exists() and not older.exists() and len(kept()) == 2


def test_two_processes_read_a_file_once() -> None:
    write(*"abc")
    code = (
        "from tests.test_row_cache import answers, row_cache\n"
        "row_cache.LARGE_BYTES = 1\n"
        "print(answers())"
    )
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in processes] == ["['a', 'b', 'c']\n"] * 2
    assert len(kept()) == 1
