"""Judged -> Measures, and the worst answers first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from selfhood.evaluate.intervals import wilson
from selfhood.evaluate.types import Better, Judged, Measure, Speaker, Verdict

# In the order of a scorecard. A measure that is better lower counts the replies that are not good.
RATES: Mapping[str, Better] = {
    "name_recall": "higher",
    "author_recall": "higher",
    "denial": "higher",
    "persona_facts": "higher",
    "swap_rate": "lower",
    "old_identity_leak": "lower",
    "placeholder_residue": "lower",
    "over_generalisation": "lower",
    "language_match": "higher",
    "vendor_facts": "higher",
}
# What an owner would least like to read, first.
GRAVITY = (
    "placeholder_residue", "swap_rate", "old_identity_leak", "over_generalisation", "name_recall",
    "author_recall", "denial", "persona_facts", "vendor_facts", "language_match",
)  # fmt: skip


def rates(judged: Sequence[Judged]) -> tuple[Measure, ...]:
    """One measure for each rule that was applied, with Wilson's 95% interval."""
    tuned, base = _by_measure(judged, "tuned"), _by_measure(judged, "base")
    return tuple(
        _with_base(_rate(name, tuned[name]), base.get(name, [])) for name in RATES if name in tuned
    )


def worst_first(judged: Iterable[Judged]) -> tuple[Judged, ...]:
    """The gravest fault first, among equals the answer with more faults; the base's come last."""
    return tuple(sorted(judged, key=_place))


def faults(judged: Judged) -> tuple[Verdict, ...]:
    """What is wrong with an answer, the gravest first."""
    wrong = [verdict for verdict in judged.verdicts if not verdict.is_good]
    return tuple(sorted(wrong, key=lambda verdict: _gravity(verdict.measure)))


def _by_measure(judged: Iterable[Judged], speaker: Speaker) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for each in judged:
        if each.speaker == speaker:
            for verdict in each.verdicts:
                found.setdefault(verdict.measure, []).append(verdict.is_good)
    return found


def _rate(name: str, goods: Sequence[bool]) -> Measure:
    better = RATES[name]
    counted = sum(is_good == (better == "higher") for is_good in goods)
    low, high = wilson(counted, len(goods))
    return Measure(
        name=name,
        value=counted / len(goods),
        low=low,
        high=high,
        num=len(goods),
        better=better,
    )


def _with_base(measure: Measure, goods: Sequence[bool]) -> Measure:
    return replace(measure, base=_rate(measure.name, goods).value) if goods else measure


def _place(judged: Judged) -> tuple[bool, int, int]:
    wrong = faults(judged)
    gravest = _gravity(wrong[0].measure) if wrong else len(GRAVITY) + 1
    return judged.speaker == "base", gravest, -len(wrong)


def _gravity(measure: str) -> int:
    return GRAVITY.index(measure) if measure in GRAVITY else len(GRAVITY)
