"""How much training is enough: examinations at growing intervals decide.

    rate     ╭──╮
            ╱    ╲_                    warm-up, then a cosine that ends with the bound; once the
           ╱       ╲__                 identity passes, down to nothing in a few updates
    update 1    80   ╲90       120     examined after 80 updates, then ever more rarely
                 ↑     ↑
                 passes  examined again: of the two, the one that drifted less is used

The rate falls even before the identity passes: at a steady one, name and author come and go from
one examination to the next. The bound is never passed, whatever examinations say.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from selfhood.model.load import Loaded

FIRST_EXAMINED = 80
GROWTH = 1.5
WARMING = 2
COOLING = 10


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
    missing: tuple[str, ...] = ()
    """What kept it from passing, a phrase each."""


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

    def passed(self, update: int) -> Dose:
        """The course once the identity has passed after this update, if it had not before."""
        return replace(self, passed_at=self.passed_at or update)

    @property
    def cooled_at(self) -> int:
        """The update after which cooling starts."""
        return self.most if self.passed_at is None else self.passed_at

    @property
    def last(self) -> int:
        """The update after which the run ends, as far as is known."""
        return min(self.cooled_at + COOLING, self.most)

    def rate(self, update: int) -> float:
        """The learning rate of update number ``update`` (from 1)."""
        if update <= WARMING:
            return self.peak * update / (WARMING + 1)
        falling = (1 + math.cos(math.pi * (update - WARMING) / (self.most + 1 - WARMING))) / 2
        cooling = min(1.0, 1 - (update - self.cooled_at) / (COOLING + 1))
        return self.peak * falling * cooling

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
