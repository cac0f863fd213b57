"""Sequences whose items are made when they are asked for.

    Named(stored rows) ── Chosen(by #N and the split) ─┐
    Named(stored rows) ── Chosen ──────────────────────┴─ Chained ── Samples

A run of a million rows looks like one of a hundred, and holds some numbers a row.
"""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

T = TypeVar("T", covariant=True)


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


class Chosen(Lazy[T]):
    """Some items of a sequence, by number, in an order of their own and as often as they come."""

    def __init__(self, items: Sequence[T], numbers: Sequence[int]) -> None:
        self._items = items
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def item(self, number: int) -> T:
        return self._items[self._numbers[number]]


class Chained(Lazy[T]):
    """Sequences one after the other."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self._parts = parts
        self._starts = [0, *itertools.accumulate(len(part) for part in parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def item(self, number: int) -> T:
        part = bisect.bisect_right(self._starts, number) - 1
        return self._parts[part][number - self._starts[part]]
