"""Conversations in a file, one line of JSON each; in memory only what is needed to find them.

    rows.jsonl  ["faq.jsonl:1",null,[["user","你是谁?",null],["assistant","我是小狐。",null]]]
                ["faq.jsonl:2","zh",[["user","1+1?",null],["assistant","2",null]]]
    starts      0, 85, 148    where each line starts, and where the last one ends
    sizes       25, 5         bytes of text
    shapes      0, 0          which of the distinct shapes it has
    marked      0, 0          whether {{NAME}} or {{AUTHOR}} is in it

That is 17 bytes of memory a row, however long it is.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from json.encoder import encode_basestring as _quoted
from pathlib import Path
from typing import BinaryIO

from selfhood.chat import Conversation, Message
from selfhood.data.rows import UNKNOWN, Extent, Rows, Shape, extent_of
from selfhood.errors import InputError
from selfhood.files import cannot_write, read_json, write_json

# Raise it when rows are read or written otherwise: what an older version kept is not reused.
FORMAT_VERSION = 1
ROWS, ABOUT = "rows.jsonl", "about.json"


@dataclass(slots=True, kw_only=True)
class Index:
    """Numbers for each row, and what is to be known of all of them."""

    starts: array[int] = field(default_factory=lambda: array("Q", [0]))
    sizes: array[int] = field(default_factory=lambda: array("I"))
    shapes: array[int] = field(default_factory=lambda: array("I"))
    marked: array[int] = field(default_factory=lambda: array("B"))
    distinct_shapes: list[Shape] = field(default_factory=list)
    num_skipped: int = 0

    @property
    def arrays(self) -> dict[str, array[int]]:
        """By the names of their files."""
        return {name: getattr(self, name) for name in ("starts", "sizes", "shapes", "marked")}

    def save(self, folder: Path) -> None:
        for name, values in self.arrays.items():
            (folder / name).write_bytes(values.tobytes())
        about = {"distinct_shapes": self.distinct_shapes, "num_skipped": self.num_skipped}
        write_json(folder / ABOUT, about)

    @classmethod
    def load(cls, folder: Path) -> Index:
        about = read_json(folder / ABOUT)
        shapes = [tuple(map(tuple, shape)) for shape in about["distinct_shapes"]]
        index = cls(distinct_shapes=shapes, num_skipped=about["num_skipped"])
        del index.starts[:]
        for name, values in index.arrays.items():
            values.frombytes((folder / name).read_bytes())
        return index


class StoredRows(Rows):
    """Rows in a file that may be unlinked meanwhile; to be read from threads and after a fork."""

    def __init__(self, file: BinaryIO, index: Index) -> None:
        self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        self._index = index

    @property
    def marked(self) -> Sequence[int]:
        """1 for each row that holds a placeholder, 0 for the others."""
        return self._index.marked

    @property
    def num_skipped(self) -> int:
        """Bad rows that were left out."""
        return self._index.num_skipped

    def __len__(self) -> int:
        return len(self._index.marked)

    def item(self, number: int) -> Conversation:
        start, end = self._index.starts[number : number + 2]
        return _row(os.pread(self._handle, end - start, start))

    def extent(self, number: int) -> Extent:
        index = self._index
        shape = index.distinct_shapes[index.shapes[number]]
        return Extent(shape, index.sizes[number], index.marked[number] == 1)

    def save_index(self, folder: Path) -> None:
        """Write what ``open_rows`` needs beside the file of rows."""
        self._index.save(folder)


class RowWriter:
    """Appends rows to a file that is open for writing and reading."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._index = Index()
        self._numbers: dict[Shape, int] = {}

    def append(self, row: Conversation) -> None:
        line, extent, index = _line(row), extent_of(row), self._index
        self._file.write(line)
        index.starts.append(index.starts[-1] + len(line))
        index.sizes.append(min(extent.num_bytes, UNKNOWN))
        index.shapes.append(self._numbers.setdefault(extent.shape, len(self._numbers)))
        index.marked.append(extent.is_marked)

    def skip(self) -> None:
        """Count a bad row that is left out."""
        self._index.num_skipped += 1

    def rows(self) -> StoredRows:
        """All that was written."""
        self._file.flush()
        self._index.distinct_shapes = list(self._numbers)
        return StoredRows(self._file, self._index)


@contextmanager
def temporary_file() -> Iterator[BinaryIO]:
    """A file without a name: it is gone when the last row of it is."""
    try:
        with tempfile.TemporaryFile() as file:
            yield file
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error


def open_rows(folder: Path) -> StoredRows | None:
    """The rows in a folder; None where a file is missing or was cut."""
    try:
        index = Index.load(folder)
        with (folder / ROWS).open("rb") as file:
            size, count = os.fstat(file.fileno()).st_size, len(index.marked)
            if len(index.sizes) != count or len(index.shapes) != count:
                return None
            if len(index.starts) != count + 1 or index.starts[-1] != size:
                return None
            return StoredRows(file, index)
    except (FileNotFoundError, ValueError, KeyError, InputError):
        return None


_SPELLED = {None: "null", False: "false", True: "true", "zh": '"zh"', "en": '"en"'}


def _line(row: Conversation) -> bytes:
    """What json.dumps would write, in half of its time: this is done for each of a million rows."""
    turns = ",".join(
        [f'["{m.role}",{_quoted(m.content)},{_SPELLED[m.trained]}]' for m in row.messages]
    )
    line = f"[{_quoted(row.origin)},{_SPELLED[row.language]},[{turns}]]\n"
    # An origin holds a file name, and Linux has file names that are not text.
    return line.encode(errors="surrogatepass")


def _row(line: bytes) -> Conversation:
    origin, language, turns = json.loads(line)
    messages = tuple(Message(role, content, trained) for role, content, trained in turns)
    return Conversation(messages=messages, origin=origin, language=language)
