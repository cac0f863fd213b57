"""An update cut into shares: every sample once, like samples together, even work."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfhood.data.encode import Sample
from selfhood.training.schedule import pack
from selfhood.training.shares import shares


def sample(ids: Sequence[int]) -> Sample:
    return Sample(ids=tuple(ids), trained=(True,) * len(ids), origin="rows.jsonl:1")


def computed(share: Sequence[Sample]) -> int:
    return sum(each.num_tokens for each in pack(share, token_budget=10**6))


SAMPLES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(sample), max_size=12)


@given(SAMPLES, st.integers(1, 5))
def test_every_sample_is_in_exactly_one_share(samples: list[Sample], count: int) -> None:
    found = shares(samples, count)
    assert len(found) == count
    together = [each for share in found for each in share]
    assert sorted(each.ids for each in together) == sorted(each.ids for each in samples)


@given(SAMPLES)
def test_no_other_cut_of_the_sorted_samples_has_a_lighter_heavier_half(
    samples: list[Sample],
) -> None:
    ordered = sorted(samples, key=lambda each: each.ids)
    cuts = [(ordered[:at], ordered[at:]) for at in range(len(ordered) + 1)]
    best = min(max(map(computed, cut)) for cut in cuts)
    assert max(map(computed, shares(samples, 2))) == best


def test_one_process_takes_everything() -> None:
    assert shares([sample([1]), sample([2])], 1) == [(sample([1]), sample([2]))]


def test_a_common_beginning_is_not_computed_twice_where_that_is_cheaper() -> None:
    persona, talk = [sample([1] * 50 + [i]) for i in range(9)], [sample([2] * 60)]
    assert [len(share) for share in shares([*talk, *persona], 2)] == [9, 1]


def test_equal_samples_stay_in_one_share() -> None:
    assert [len(share) for share in shares([sample([1, 2, 3])] * 4, 2)] == [4, 0]


@pytest.mark.parametrize("count", [2, 4])
def test_rows_with_nothing_in_common_are_shared_evenly(count: int) -> None:
    found = shares([sample([i] * 10) for i in range(8)], count)
    assert [computed(share) for share in found] == [80 // count] * count
