"""Which rows are read next: rows join and leave between tokens.

    waiting ──► speaking ──► done
       │           │           └─ its cache is kept for a talk that goes on, or begins alike
       │           └─ each pass: one token of every row that speaks, and as much of the prompts of
       │              those that still listen as a pass takes
       └─ until there is a place, and room for all the tokens the row may come to

A row whose prompt begins like another's does not read that beginning: it takes it from the other's
cache, and waits for it where the other is just about to read it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from selfhood.engine.kv_cache import Cache
from selfhood.engine.row import Row
from selfhood.errors import InputError

READ_AT_ONCE = 512  # prompt tokens in a pass: the others' next word waits for them
WORTH_SHARING = 16  # tokens


@dataclass(frozen=True, slots=True)
class Reading:
    """The next tokens of a row: what a pass reads of it."""

    row: Row
    ids: list[int]

    @property
    def adapter(self) -> str | None:
        return self.row.adapter

    @property
    def cache(self) -> Cache:
        assert self.row.cache is not None, "a row that is read has its place"
        return self.row.cache

    @property
    def is_last(self) -> bool:
        """Whether the row can speak after it."""
        return len(self.ids) == len(self.row.unread)


@dataclass(frozen=True, slots=True)
class _Kept:
    adapter: str | None
    cache: Cache


@dataclass(slots=True)
class _Speaking:
    """A row that has its place. ``source`` is one that reads what both begin with."""

    row: Row
    source: Row | None = None
    shared: int = 0

    @property
    def most_tokens(self) -> int:
        held = 0 if self.row.cache is None else self.row.cache.held
        return max(self.row.most_tokens, held)


class Batch:
    """``most_rows`` speak at once; all caches together hold ``most_tokens``."""

    def __init__(
        self,
        *,
        most_rows: int,
        most_tokens: int,
        new_cache: Callable[[str | None], Cache],
    ) -> None:
        self._most_rows = most_rows
        self._most_tokens = most_tokens
        self._new_cache = new_cache
        self._arrived: deque[Row] = deque()  # the only thing that other threads touch
        self._waiting: deque[Row] = deque()
        self._speaking: list[_Speaking] = []
        self._kept: deque[_Kept] = deque()  # the one that was used last is the last

    @property
    def rows(self) -> list[Row]:
        return [place.row for place in self._speaking]

    @property
    def adapters(self) -> set[str | None]:
        """Of all rows that have still something to say, also of those that wait for that."""
        rows = (*self._arrived, *self._waiting, *self.rows)
        return {row.adapter for row in rows if not row.is_done}

    @property
    def num_tokens(self) -> int:
        """Those that there is room for in what is kept, and those that rows may come to."""
        speaking = sum(place.most_tokens for place in self._speaking)
        return speaking + sum(kept.cache.held for kept in self._kept)

    def join(self, rows: Iterable[Row]) -> None:
        """From any thread."""
        self._arrived.extend(rows)

    def next_readings(self) -> list[Reading]:
        """What the next pass reads, and who has left since the last one."""
        self._dismiss()
        self._admit()
        return self._readings()

    def forget(self, adapter: str | None) -> None:
        """No row goes on from what that speaker has read."""
        self._dismiss()
        self._kept = deque(kept for kept in self._kept if kept.adapter != adapter)

    def fail(self, error: Exception) -> None:
        """No row can be answered."""
        self._waiting.extend(self._take_arrived())
        for row in (*self._waiting, *self.rows):
            row.fail(error)
        self._waiting.clear()
        self._speaking.clear()
        self._kept.clear()

    def _dismiss(self) -> None:
        for place in self._speaking:
            row = place.row
            if row.is_done and row.cache is not None:
                self._kept.append(_Kept(row.adapter, row.cache))
        self._speaking = [place for place in self._speaking if not place.row.is_done]
        self._make_room(0)

    def _admit(self) -> None:
        self._waiting.extend(self._take_arrived())
        while self._waiting:
            row = self._waiting[0]
            if row.is_done:
                self._waiting.popleft()
                continue
            is_full = len(self._speaking) >= self._most_rows
            # A row that is larger than all the room there is speaks alone.
            if self._speaking and (is_full or not self._make_room(row.most_tokens)):
                return
            self._waiting.popleft()
            try:
                self._speaking.append(self._seat(row))
            except InputError as error:  # its speaker has left since it was asked
                row.fail(error)
            self._make_room(0)

    def _take_arrived(self) -> list[Row]:
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def _make_room(self, num_tokens: int) -> bool:
        """Whether so many more tokens fit; what was kept and is oldest goes first."""
        while self._kept and self.num_tokens + num_tokens > self._most_tokens:
            self._kept.popleft()
        return self.num_tokens + num_tokens <= self._most_tokens

    def _seat(self, row: Row) -> _Speaking:
        """With the longest beginning that is there, or soon will be. One token at least is left
        to read: what the row says first comes from it."""
        most = len(row.ids) - 1
        kept = max(
            (each for each in self._kept if each.adapter == row.adapter),
            key=lambda each: each.cache.shares(row.ids),
            default=None,
        )
        there = 0 if kept is None else min(kept.cache.shares(row.ids), most)
        if kept is not None and there >= WORTH_SHARING:
            self._take_over(row, kept, there)
        source, shared = self._neighbour(row, most)
        if source is not None and shared >= there + WORTH_SHARING:
            return _Speaking(row, source, shared)
        if row.cache is None:
            row.cache = self._new_cache(row.adapter)
        row.cache.most_tokens = row.most_tokens
        return _Speaking(row)

    def _take_over(self, row: Row, kept: _Kept, shared: int) -> None:
        """A talk that goes on goes on in its cache; one that only begins alike gets a copy."""
        if shared * 2 < len(kept.cache):
            row.cache = kept.cache.fork(shared)
            return
        self._kept = deque(each for each in self._kept if each is not kept)
        kept.cache.cut(shared)
        row.cache = kept.cache

    def _neighbour(self, row: Row, most: int) -> tuple[Row | None, int]:
        found: Row | None = None
        longest = 0
        for place in self._speaking:
            other = place.row
            if other.adapter != row.adapter or place.source is not None or other.cache is None:
                continue
            if not other.cache.can_fork:
                continue
            shared = min(_common(other.ids, row.ids), most)
            if shared > longest:
                found, longest = other, shared
        return found, longest

    def _readings(self) -> list[Reading]:
        room = READ_AT_ONCE
        readings = []
        for place in self._speaking:
            self._take_from_source(place)
            if place.source is not None:
                continue
            unread = place.row.unread
            piece = unread if len(unread) == 1 else unread[:room]
            if len(unread) > 1:
                room -= len(piece)
            if piece:
                readings.append(Reading(place.row, piece))
        return readings

    def _take_from_source(self, place: _Speaking) -> None:
        source = place.source
        if source is None or source.cache is None:
            return
        there = min(len(source.cache), place.shared)
        if there == place.shared or source.is_done:
            place.row.cache = source.cache.fork(there)
            place.row.cache.most_tokens = place.row.most_tokens
            place.source = None


def _common(some: list[int], others: list[int]) -> int:
    for number, (one, other) in enumerate(zip(some, others, strict=False)):
        if one != other:
            return number
    return min(len(some), len(others))
