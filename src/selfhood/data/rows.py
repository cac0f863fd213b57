"""Rows that are made when they are asked for; how long each is, is known without making it.

    StoredRows ── Named ── Chosen (by #N and the split) ─┐
    StoredRows ── Named ── Chosen ───────────────────────┴─ Chained ── Samples

A run of a million rows looks like one of a hundred, and holds some numbers a row.
"""

from __future__ import annotations

import bisect
import itertools
import unicodedata
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar, overload

from selfhood.chat import Conversation
from selfhood.data.naming import Naming, fill, holds_mark

T = TypeVar("T", covariant=True)
UNKNOWN = (1 << 32) - 1

Shape = tuple[tuple[str, bool | None, bool], ...]
"""Role, ``trained``, and whether there is a text, of each message: what chat templates see to."""


class Extent(NamedTuple):
    """What is to be known of a row before it is needed."""

    shape: Shape
    num_bytes: int
    """Of its texts as UTF-8. UNKNOWN where they are not in Unicode's form NFC: tokenizers bring
    text into that form first, and it may be longer."""
    is_marked: bool
    """Whether it holds {{NAME}} or {{AUTHOR}}."""


def extent_of(row: Conversation) -> Extent:
    text = "".join([each.content for each in row.messages])
    shape = tuple([(each.role, each.trained, each.content != "") for each in row.messages])
    num_bytes = len(text.encode()) if unicodedata.is_normalized("NFC", text) else UNKNOWN
    return Extent(shape, num_bytes, "{{" in text and holds_mark(row))


class Lazy(Sequence[T]):
    """A sequence whose items are made by ``item``, which gets numbers from 0 to the length."""

    @abstractmethod
    def item(self, number: int) -> T: ...

    @overload
    def __getitem__(self, key: int) -> T: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[T, ...]: ...

    def __getitem__(self, key: int | slice) -> T | tuple[T, ...]:
        if isinstance(key, slice):
            return tuple(self.item(number) for number in range(len(self))[key])
        return self.item(range(len(self))[key])

    def __iter__(self) -> Iterator[T]:
        return map(self.item, range(len(self)))


class Rows(Lazy[Conversation]):
    """Conversations, and how long each is."""

    @abstractmethod
    def extent(self, number: int) -> Extent: ...


class Named(Rows):
    """Rows with their placeholders replaced."""

    def __init__(self, rows: Rows, naming: Naming) -> None:
        self._rows = rows
        self._naming = naming

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, number: int) -> Conversation:
        return fill(self._rows.item(number), self._naming)

    def extent(self, number: int) -> Extent:
        extent = self._rows.extent(number)
        return extent_of(self.item(number)) if extent.is_marked else extent


class Chosen(Rows):
    """Some of the rows, by number, in an order of their own and as often as they come."""

    def __init__(self, rows: Rows, numbers: Sequence[int]) -> None:
        self._rows = rows
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def item(self, number: int) -> Conversation:
        return self._rows.item(self._numbers[number])

    def extent(self, number: int) -> Extent:
        return self._rows.extent(self._numbers[number])


class Chained(Rows):
    """Rows of several datasets, one after the other."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts
        self._starts = [0, *itertools.accumulate(len(part) for part in parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def item(self, number: int) -> Conversation:
        part, own = self._find(number)
        return part.item(own)

    def extent(self, number: int) -> Extent:
        part, own = self._find(number)
        return part.extent(own)

    def _find(self, number: int) -> tuple[Rows, int]:
        part = bisect.bisect_right(self._starts, number) - 1
        return self._parts[part], number - self._starts[part]
