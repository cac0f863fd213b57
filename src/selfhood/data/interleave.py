"""An order in which every beginning is balanced."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def interleaved(
    items: Iterable[T], axes: Sequence[Callable[[T], str]], rng: random.Random
) -> list[T]:
    """Items in random order, but spread so that any prefix holds a fair share of each group.

    a a a a b b  ->  a b a a b a     group by group along the axes, the first axis outermost
    """
    if not axes:
        shuffled = list(items)
        rng.shuffle(shuffled)
        return shuffled
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(axes[0](item), []).append(item)
    spots: list[tuple[float, T]] = []
    for group in groups.values():
        part = interleaved(group, axes[1:], rng)
        phase = rng.random()  # else every group's first item would wait equally long
        spots += [((place + phase) / len(part), item) for place, item in enumerate(part)]
    return [item for _, item in sorted(spots, key=lambda spot: spot[0])]
