"""How much training is enough: examinations at growing intervals decide.

    rate     ┌────────────┐            warm-up, the peak until the identity passes,
            ╱              ╲           then down to nothing in a few updates
    update 1    10  13  17 ╲ 23        examined after 10 updates, then ever more rarely
                         ↑    ↑
                     passes   examined again: of the two, the one that drifted less is used

A rate that falls to the end of a run which nobody knows beforehand cannot be a cosine; steady and
then down does as well (arXiv 2405.18392). The bound is never passed, whatever examinations say.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from selfhood.model.load import Loaded

FIRST_EXAMINED = 10
GROWTH = 1.3
WARMING = 2
COOLING = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the model said of itself, as shares of right answers, and what else has changed. Where
    the old identity is still the likelier one, it was not asked."""

    name: float | None = None
    author: float | None = None
    denial: float | None = None
    leaks: float | None = None
    """Share of ordinary replies that hold the new name or author."""
    kl: float
    """Nats a token, KL(base || tuned) on ordinary replies."""
    has_passed: bool = False


class Examiner(Protocol):
    """Whoever asks; ``evaluate.examiner`` does."""

    def examine(self, loaded: Loaded) -> Examination: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """The course of a run of at most ``most`` updates. ``passed_at`` is the update after which the
    identity first passed."""

    most: int
    peak: float
    passed_at: int | None = None

    @property
    def cooled_at(self) -> int:
        """The update after which cooling starts."""
        latest = max(self.most - COOLING, 0)
        return latest if self.passed_at is None else min(self.passed_at, latest)

    @property
    def last(self) -> int:
        """The update after which the run ends, as far as is known."""
        return min(self.cooled_at + COOLING, self.most)

    def rate(self, update: int) -> float:
        """The learning rate of update number ``update`` (from 1)."""
        warming = min(1.0, update / (WARMING + 1))
        cooling = min(1.0, 1 - (update - self.cooled_at) / (COOLING + 1))
        return self.peak * min(warming, cooling)

    def is_due(self, update: int) -> bool:
        """Whether there is an examination after this update."""
        if update == self.last:
            return True
        return update <= self.cooled_at and self.passed_at is None and update in examined(self.most)


def examined(most: int) -> set[int]:
    return set(itertools.takewhile(lambda update: update <= most, _intervals()))


def _intervals() -> Iterator[int]:
    update = float(FIRST_EXAMINED)
    while True:
        yield round(update)
        update *= GROWTH
