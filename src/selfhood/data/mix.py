"""The seeded plan: which rows are trained, which validate, and in which update each one is.

    dataset a#500 ─┬─ validation rows, cut before anything is repeated
                   └─ training rows, sampled or repeated to 500 ─┐
    dataset b ──────────────────────────────────────────────────┴─ one list ── Order: updates

Everything later reads these lists; nothing later samples.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Row numbers of one dataset after ``#N`` and ``--split_dataset_ratio``."""

    train: Sequence[int]
    val: Sequence[int]


def split_and_sample(
    count: int,
    *,
    num_rows: int | None,
    val_ratio: float,
    generator: random.Random | None,
) -> Split:
    """Of ``count`` rows; ``num_rows`` counts training and validation rows together, as ms-swift
    counts them.

    ``generator`` None takes rows in file order.
    """
    wanted = count if num_rows is None else num_rows
    fewest = min(count, wanted)
    num_val = max(int(fewest * val_ratio), 1) if val_ratio > 0 else 0
    num_val = min(num_val, fewest - 1)  # a single row cannot do both jobs: it is trained
    order = _shuffled(count, generator) if num_val else range(count)
    val, rest = order[:num_val], order[num_val:]
    train = rest if num_rows is None else sample(rest, wanted - num_val, generator)
    return Split(train=train, val=val)


def sample(numbers: Sequence[int], wanted: int, generator: random.Random | None) -> array[int]:
    """``wanted`` numbers: a subset, or whole repeats and a random remainder."""
    repeats, remainder = divmod(wanted, len(numbers))
    drawn = numbers[:remainder] if generator is None else generator.sample(numbers, remainder)
    return array("Q", numbers) * repeats + array("Q", drawn)


def _shuffled(count: int, generator: random.Random | None) -> array[int]:
    order = array("Q", range(count))
    if generator is not None:
        generator.shuffle(order)
    return order


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which samples each optimizer update takes; epoch by epoch a new seeded permutation.

    An epoch's last update takes what is left, so that no update mixes two epochs.
    """

    num_samples: int
    samples_per_update: int
    epochs: float
    max_steps: int
    seed: int
    shuffle: bool

    @property
    def updates_per_epoch(self) -> int:
        return math.ceil(self.num_samples / self.samples_per_update)

    @property
    def num_updates(self) -> int:
        if self.max_steps > 0:
            return self.max_steps
        return max(1, math.ceil(self.epochs * self.updates_per_epoch))

    def updates(self, start: int = 0) -> Iterator[tuple[int, ...]]:
        """Sample numbers of each update, from update ``start`` on."""
        epoch, permutation = -1, array("Q")
        for update in range(start, self.num_updates):
            wanted, position = divmod(update, self.updates_per_epoch)
            if wanted != epoch:
                epoch, permutation = wanted, self._permutation(wanted)
            first = position * self.samples_per_update
            yield tuple(permutation[first : first + self.samples_per_update])

    def _permutation(self, epoch: int) -> array[int]:
        numbers = array("Q", range(self.num_samples))
        if self.shuffle:
            random.Random(f"{self.seed}/{epoch}").shuffle(numbers)
        return numbers
