"""An update, or the validation rows, cut into one share a process. No torch here.

Samples are sorted as ``schedule.pack`` sorts them, so that those which begin alike stay together,
and cut where the heaviest share is as light as a cut of the sorted row can make it:

    sorted   a─┬─b  a─┬─c  a─┬─d │ x───y  x───z        cost of a share: its tokens, common
    computed 2      1      1     │ 2      1            beginnings once
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from selfhood.data.encode import Sample
from selfhood.training.schedule import common_prefix


def shares(samples: Sequence[Sample], count: int) -> list[tuple[Sample, ...]]:
    """``count`` shares, the last of them empty where the samples have too much in common."""
    ordered = sorted(samples, key=lambda sample: sample.ids)
    if count == 1:
        return [tuple(ordered)]
    added = _added_tokens(ordered)
    low, high = 0, sum(added)
    while low < high:  # the smallest budget with which ``count`` shares are enough
        budget = (low + high) // 2
        if len(list(_cut(ordered, added, budget))) <= count:
            high = budget
        else:
            low = budget + 1
    found = [tuple(ordered[part]) for part in _cut(ordered, added, high)]
    return found + [()] * (count - len(found))


def _added_tokens(ordered: Sequence[Sample]) -> list[int]:
    """Tokens that each sample adds to those before it."""
    shared = [0, *(common_prefix(one.ids, other.ids) for one, other in pairwise(ordered))]
    return [len(sample.ids) - known for sample, known in zip(ordered, shared, strict=False)]


def _cut(ordered: Sequence[Sample], added: Sequence[int], budget: int) -> Iterator[slice]:
    """Runs of samples that stay within ``budget`` computed tokens, or hold a single sample."""
    start = num_tokens = 0
    for position, sample in enumerate(ordered):
        if position > start and num_tokens + added[position] > budget:
            yield slice(start, position)
            start, num_tokens = position, 0
        num_tokens += added[position] if position > start else len(sample.ids)
    if ordered:
        yield slice(start, len(ordered))
