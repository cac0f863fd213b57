"""Intervals: as published, and honest at the ends where few replies tell little."""

from __future__ import annotations

import pytest

from selfhood.evaluate.intervals import paired_shares, ratio, wilson


def test_wilson_is_as_published() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)


def test_nothing_counted_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_paired_change_of_none_still_has_a_width() -> None:
    low, high = paired_shares(0, 0, 100)
    assert low == -high
    assert 0.015 < high < 0.025


def test_items_that_stay_as_they_are_narrow_a_paired_interval() -> None:
    few, many = paired_shares(6, 2, 50), paired_shares(6, 2, 500)
    assert few[0] < 4 / 50 < few[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 5


def test_a_ratio_is_weighted_by_tokens_and_the_same_each_time() -> None:
    parts = [(1.0, 10), (3.0, 10), (2.0, 100), (9.0, 30), (0.0, 5)]
    low, high = ratio(parts)
    assert low < 15 / 155 < high
    assert ratio(parts) == (low, high)
