"""The schedule, seen from outside: what each slot sees, and that nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from selfhood.data.encode import Sample
from selfhood.training.schedule import Pack, pack, pad, round_up


def sample(ids: tuple[int, ...], trained: tuple[bool, ...] = (), weight: float = 1.0) -> Sample:
    flags = trained or (False, *(True for _ in ids[1:]))
    return Sample(ids=ids, trained=flags, origin=f"rows:{ids}", weight=weight)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Three tokens only, so that rows begin alike, repeat, and begin one another."""
    ids = tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=9)))
    trained = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    return sample(ids, tuple(trained), draw(st.sampled_from((0.5, 1.0, 2.0))))


updates = st.lists(samples(), min_size=1, max_size=8)
budgets = st.integers(1, 40)


def seen_from(each: Pack, slot: int) -> tuple[int, ...]:
    """The slots that ``slot`` sees, in order."""
    return tuple(other for other in range(slot + 1) if slot <= each.last[other])


def path(each: Pack, slot: int) -> tuple[int, ...]:
    return tuple(each.ids[other] for other in seen_from(each, slot))


def prefixes(rows: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {ids[:end] for ids in rows for end in range(1, len(ids) + 1)}


@given(update=updates, budget=budgets)
def test_every_slot_sees_itself_and_what_came_before_it_in_its_rows(
    update: list[Sample], budget: int
) -> None:
    rows = prefixes([each.ids for each in update])
    for each in pack(update, budget):
        for slot in range(each.num_tokens):
            assert seen_from(each, slot)[-1] == slot
            assert path(each, slot) in rows
            assert each.positions[slot] == len(path(each, slot)) - 1


@given(update=updates, budget=budgets)
def test_replaying_the_packs_gives_back_the_samples(update: list[Sample], budget: int) -> None:
    packs = pack(update, budget)
    paths = {path(each, slot) for each in packs for slot in range(each.num_tokens)}
    assert {each.ids for each in update} <= paths
    origins = Counter(origin for each in packs for origin in each.origins)
    assert origins == Counter(each.origin for each in update)


@given(update=updates, budget=budgets)
def test_a_pack_computes_each_distinct_prefix_once(update: list[Sample], budget: int) -> None:
    by_origin = {each.origin: each.ids for each in update}
    for each in pack(update, budget):
        rows = prefixes([by_origin[origin] for origin in each.origins])
        assert each.num_tokens == len(rows)


@given(update=updates, budget=budgets)
def test_a_pack_exceeds_the_budget_only_for_one_longer_row(
    update: list[Sample], budget: int
) -> None:
    for each in pack(update, budget):
        assert each.num_tokens <= budget or len(set(each.origins)) == 1


@given(update=updates, budget=budgets)
def test_every_trained_token_is_predicted_from_the_token_before_it_with_its_weight(
    update: list[Sample], budget: int
) -> None:
    """The first token of a row has none before it, so nothing can be asked of it."""
    expected: Counter[tuple[int, ...]] = Counter()
    for each in update:
        for end in range(2, len(each.ids) + 1):
            if each.trained[end - 1]:
                expected[each.ids[:end]] += each.weight  # type: ignore[assignment]
    found: Counter[tuple[int, ...]] = Counter()
    for laid in pack(update, budget):
        targets = zip(laid.target_slots, laid.target_ids, laid.target_weights, strict=True)
        for slot, token, weight in targets:
            found[(*path(laid, slot), token)] += weight  # type: ignore[assignment]
    assert found == expected


@given(update=updates, budget=budgets)
@settings(max_examples=30)
def test_the_order_of_rows_within_an_update_does_not_matter(
    update: list[Sample], budget: int
) -> None:
    def shape(packs: list[Pack]) -> list[tuple[int, ...]]:
        return [each.ids for each in packs]

    assert shape(pack(update, budget)) == shape(pack(update[::-1], budget))


def test_the_drawing_in_the_docstring_is_what_happens() -> None:
    system, who, fox_long, fox, sum_, two = range(6)
    rows = [(system, who, fox_long), (system, who, fox), (system, sum_, two)]
    (each,) = pack([sample(ids) for ids in rows], 64)
    assert each.ids == (system, who, fox_long, fox, sum_, two)
    assert each.positions == (0, 1, 2, 2, 1, 2)
    assert each.last == (5, 3, 2, 3, 5, 5)


def test_a_row_repeated_sixteen_times_is_computed_once() -> None:
    (each,) = pack([sample((1, 2, 3))] * 16, 64)
    assert each.num_tokens == 3
    assert each.target_weights == (16.0, 16.0)


def test_a_repeated_row_is_computed_once_even_if_it_is_longer_than_the_budget() -> None:
    (each,) = pack([sample(tuple(range(9)))] * 3, 4)
    assert each.num_tokens == 9


def test_a_row_of_twenty_thousand_tokens_is_laid_out() -> None:
    (each,) = pack([sample(tuple(range(20_000)))], 64)
    assert each.positions[-1] == 19_999


def test_an_update_without_rows_has_no_packs() -> None:
    assert pack([], 64) == []


def rows_of(each: Pack) -> list[tuple[int, ...]]:
    width = each.num_tokens // each.num_rows
    return [each.ids[start : start + width] for start in range(0, each.num_tokens, width)]


@given(update=updates, budget=budgets)
def test_padding_keeps_every_row_and_every_target(update: list[Sample], budget: int) -> None:
    packs = pad(update, budget)
    rows = [row for each in packs for row in rows_of(each)]
    for one in update:
        assert any(row[: len(one.ids)] == one.ids for row in rows)
    origins = Counter(origin for each in packs for origin in each.origins)
    assert origins == Counter(each.origin for each in update)
    trained = sum(one.weight * sum(one.trained[1:]) for one in update)
    assert sum(sum(each.target_weights) for each in packs) == trained
    for each in packs:
        predicted = tuple(each.ids[slot + 1] for slot in each.target_slots)
        assert predicted == each.target_ids


@given(update=updates, budget=budgets)
def test_padded_rows_stay_within_the_budget_but_for_one_longer_row(
    update: list[Sample], budget: int
) -> None:
    for each in pad(update, budget):
        assert each.num_tokens <= budget or each.num_rows == 1


def test_rows_that_are_equal_or_begin_another_are_padded_once() -> None:
    (each,) = pad([sample((1, 2, 3, 4)), sample((1, 2)), *[sample((1, 2, 3))] * 16], 64)
    assert each.num_rows == 1
    assert each.ids == (1, 2, 3, 4)
    assert each.target_weights == (18, 17, 1)


def test_rows_of_like_length_are_padded_together() -> None:
    lengths = (9, 2, 3, 8)
    update = [sample((number, *range(10, 9 + length))) for number, length in enumerate(lengths)]
    assert [each.num_tokens for each in pad(update, 18)] == [18, 6]


@given(update=updates, multiple=st.integers(1, 9))
def test_rounding_up_adds_slots_that_nobody_sees(update: list[Sample], multiple: int) -> None:
    for narrow in pack(update, 16):
        wide = round_up(narrow, multiple)
        width = narrow.num_tokens
        assert wide.num_tokens % multiple == 0
        assert wide.num_tokens - width < multiple
        assert [seen_from(wide, slot) for slot in range(width)] == [
            seen_from(narrow, slot) for slot in range(width)
        ]
        assert all(slot in seen_from(wide, slot) for slot in range(wide.num_tokens))
        assert wide.target_slots == narrow.target_slots
