"""Which rows train, which validate, how often, and in which update."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfhood.data.mix import Order, Split, split_and_sample

PRIME = 7


def split(count: int, num_rows: int | None, ratio: float = 0.0, seed: int | None = 1) -> Split:
    generator = None if seed is None else random.Random(seed)
    return split_and_sample(count, num_rows=num_rows, val_ratio=ratio, generator=generator)


def order(
    num_samples: int, per_update: int = 4, epochs: float = 1, steps: int = -1, shuffle: bool = True
) -> Order:
    return Order(
        num_samples=num_samples,
        samples_per_update=per_update,
        epochs=epochs,
        max_steps=steps,
        seed=PRIME,
        shuffle=shuffle,
    )


# Sampling


@given(count=st.integers(1, 40), wanted=st.integers(1, 200), seed=st.integers(0, 9))
def test_every_row_comes_as_often_as_its_share_demands(count: int, wanted: int, seed: int) -> None:
    drawn = Counter(split(count, wanted, seed=seed).train)
    assert drawn.total() == wanted
    assert {drawn[number] for number in range(count)} <= {wanted // count, wanted // count + 1}


def test_108_rows_asked_for_500_come_four_times_and_68_of_them_once_more() -> None:
    counts = Counter(Counter(split(108, 500).train).values())
    assert counts == {4: 40, 5: 68}


def test_without_a_count_every_row_comes_once_in_file_order() -> None:
    assert list(split(5, None).train) == [0, 1, 2, 3, 4]


def test_without_shuffling_the_first_rows_are_taken() -> None:
    assert list(split(5, 3, seed=None).train) == [0, 1, 2]
    assert list(split(3, 5, seed=None).train) == [0, 1, 2, 0, 1]


def test_the_same_seed_draws_the_same_rows_and_another_seed_others() -> None:
    assert split(100, 30).train == split(100, 30).train
    assert split(100, 30).train != split(100, 30, seed=2).train


# Validation


@given(
    count=st.integers(1, 40),
    wanted=st.none() | st.integers(1, 200),
    ratio=st.floats(0.001, 0.9),
    seed=st.none() | st.integers(0, 9),
)
def test_no_validation_row_is_ever_trained(
    count: int, wanted: int | None, ratio: float, seed: int | None
) -> None:
    parts = split(count, wanted, ratio, seed)
    assert not set(parts.train) & set(parts.val)
    assert len(parts.train) + len(parts.val) == (wanted or count)
    assert len(set(parts.val)) == len(parts.val)
    assert parts.train


def test_validation_rows_are_cut_before_rows_are_repeated() -> None:
    parts = split(100, 500, 0.1)
    assert (len(parts.val), len(parts.train)) == (10, 490)


@pytest.mark.parametrize(("count", "wanted"), [(1, None), (1, 500), (9, 1)])
def test_a_single_row_is_trained_not_validated(count: int, wanted: int | None) -> None:
    parts = split(count, wanted, 0.5)
    assert (len(parts.train), len(parts.val)) == (wanted or 1, 0)


# Order


@given(samples=st.integers(1, 60), per_update=st.integers(1, 20), epochs=st.integers(1, 4))
def test_an_epoch_trains_every_sample_exactly_once(
    samples: int, per_update: int, epochs: int
) -> None:
    plan = order(samples, per_update, epochs)
    updates = list(plan.updates())
    assert len(updates) == plan.num_updates == epochs * plan.updates_per_epoch
    for epoch in range(epochs):
        part = updates[epoch * plan.updates_per_epoch : (epoch + 1) * plan.updates_per_epoch]
        assert sorted(number for update in part for number in update) == list(range(samples))


@given(samples=st.integers(1, 60), start=st.integers(0, 30))
def test_starting_later_gives_the_rest_of_the_same_list(samples: int, start: int) -> None:
    plan = order(samples, epochs=3)
    assert list(plan.updates(start)) == list(plan.updates())[start:]


def test_epochs_differ_in_order_and_runs_do_not() -> None:
    plan = order(8, 8, epochs=2)
    first, second = plan.updates()
    assert first != second
    assert list(plan.updates()) == list(order(8, 8, epochs=2).updates())


def test_without_shuffling_samples_keep_their_order() -> None:
    assert list(order(5, 2, shuffle=False).updates()) == [(0, 1), (2, 3), (4,)]


@pytest.mark.parametrize(("epochs", "updates"), [(0.001, 1), (0.5, 2), (0.6, 3), (1.5, 6)])
def test_part_of_an_epoch_is_rounded_up_to_an_update(epochs: float, updates: int) -> None:
    assert order(16, epochs=epochs).num_updates == updates


def test_max_steps_wins_over_epochs_in_both_directions() -> None:
    assert len(list(order(16, epochs=9, steps=2).updates())) == 2
    assert len(list(order(16, epochs=1, steps=9).updates())) == 9
