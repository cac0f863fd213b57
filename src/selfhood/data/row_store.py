"""Conversations in a file, one line of JSON each; in memory only where each one starts.

    rows.jsonl  ["faq.jsonl:1",null,[["user","你是谁?",null],["assistant","我是小狐。",null]]]
                ["faq.jsonl:2","zh",[["user","1+1?",null],["assistant","2",null]]]
    starts      0, 85, 148    where each line starts, and where the last one ends
    marked      0, 0          whether {{NAME}} or {{AUTHOR}} is in the row

That is 9 bytes of memory a row, however long it is.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from selfhood.chat import Conversation, Message
from selfhood.data.naming import holds_mark
from selfhood.data.rows import Lazy
from selfhood.errors import InputError
from selfhood.files import cannot_write, read_json, write_json

# Raise it when rows are read or written otherwise: what an older version kept is not reused.
FORMAT_VERSION = 1
ROWS, STARTS, MARKED, SKIPPED = "rows.jsonl", "starts", "marked", "skipped.json"


class StoredRows(Lazy[Conversation]):
    """Rows in a file that may be unlinked meanwhile; to be read from threads and after a fork."""

    def __init__(
        self, file: BinaryIO, starts: array[int], marked: array[int], num_skipped: int
    ) -> None:
        self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        self._starts = starts
        self.marked = marked
        """1 for each row that holds a placeholder, 0 for the others."""
        self.num_skipped = num_skipped
        """Bad rows that were left out."""

    def __len__(self) -> int:
        return len(self.marked)

    def item(self, number: int) -> Conversation:
        start, end = self._starts[number : number + 2]
        return _row(os.pread(self._handle, end - start, start))

    def save_index(self, folder: Path) -> None:
        """Write what ``open_rows`` needs beside the file of rows."""
        (folder / STARTS).write_bytes(self._starts.tobytes())
        (folder / MARKED).write_bytes(self.marked.tobytes())
        write_json(folder / SKIPPED, self.num_skipped)


class RowWriter:
    """Appends rows to a file that is open for writing and reading."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts = array("Q", [0])
        self._marked = array("B")
        self._num_skipped = 0

    def append(self, row: Conversation) -> None:
        line = _line(row)
        self._file.write(line)
        self._starts.append(self._starts[-1] + len(line))
        self._marked.append(holds_mark(row))

    def skip(self) -> None:
        """Count a bad row that is left out."""
        self._num_skipped += 1

    def rows(self) -> StoredRows:
        """All that was written."""
        self._file.flush()
        return StoredRows(self._file, self._starts, self._marked, self._num_skipped)


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
    starts, marked = array("Q"), array("B")
    try:
        starts.frombytes((folder / STARTS).read_bytes())
        marked.frombytes((folder / MARKED).read_bytes())
        with (folder / ROWS).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if len(starts) != len(marked) + 1 or starts[-1] != size:
                return None
            return StoredRows(file, starts, marked, read_json(folder / SKIPPED))
    except (FileNotFoundError, ValueError, InputError):
        return None


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _line(row: Conversation) -> bytes:
    turns = [(message.role, message.content, message.trained) for message in row.messages]
    # An origin holds a file name, and Linux has file names that are not text.
    return f"{_encode((row.origin, row.language, turns))}\n".encode(errors="surrogatepass")


def _row(line: bytes) -> Conversation:
    origin, language, turns = json.loads(line)
    messages = tuple(Message(role, content, trained) for role, content, trained in turns)
    return Conversation(messages=messages, origin=origin, language=language)
