"""What the model can do, asked of it and of its base: the same items, exact answers, paired.

    Item ── Probe ── engine ── reply ── Check ── Verdict     once as tuned, once as the base
    both ── the items that only one of them got right ── change, in points, with its interval

Two shares that are taken apart need hundreds of items to show a small change. The same items asked
twice need fewer: those that both get right, or both wrong, say nothing about it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfhood.chat import Language, Message
from selfhood.data.identity_texts import HELPFUL_SYSTEM_LINE
from selfhood.data.interleave import interleaved
from selfhood.evaluate.checks import Check, LastNumber, look
from selfhood.evaluate.intervals import paired_shares, wilson
from selfhood.evaluate.texts import AnyOf, EvaluationTexts
from selfhood.evaluate.types import Judged, Measure, Probe, Verdict

TOPIC = "ability"
POINTS = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question with one right answer."""

    id: str
    """Such as ``ability/code/zh/3`` or ``mmlu.csv:12``."""
    topic: str
    """Items of a topic are one sitting: ``TOPIC``, or the file they come from."""
    measure: str
    """What a right answer counts for: arithmetic, fact, format, code; or the file's name."""
    language: Language
    prompt: str
    check: Check


def ability_items(texts: EvaluationTexts) -> tuple[Item, ...]:
    """The tasks of one language."""
    return tuple(
        Item(
            id=f"{TOPIC}/{each.kind}/{each.language}/{number}",
            topic=TOPIC,
            measure=each.kind,
            language=each.language,
            prompt=each.prompt,
            check=_strict(each.kind, each.check),
        )
        for number, each in enumerate(texts.ability, start=1)
    )


def _strict(kind: str, check: Check) -> Check:
    """A sum may name its operands, one of which may be its answer."""
    return LastNumber(check.answers) if kind == "arithmetic" and isinstance(check, AnyOf) else check


def fair_share(items: Sequence[Item], most: int | None, *, seed: int) -> tuple[Item, ...]:
    """So many of them, of every kind and language alike."""
    axes = (lambda item: item.measure, lambda item: item.language)
    return tuple(interleaved(items, axes, random.Random(seed))[:most])


def names(items: Iterable[Item]) -> tuple[str, ...]:
    """Of the measures that the items may lead to."""
    topics = {item.topic: None for item in items}
    kinds = {item.measure: None for item in items}
    return (*dict.fromkeys((*kinds, *topics)), *(f"{topic}_change" for topic in topics))


def to_probe(item: Item) -> Probe:
    return Probe(
        id=item.id,
        topic=item.topic,
        language=item.language,
        messages=(Message("system", HELPFUL_SYSTEM_LINE), Message("user", item.prompt)),
        condition="helpful",
    )


def judge(item: Item, reply: str) -> Verdict:
    """By the item's own check. A program is run (see ``sandbox``)."""
    finding = look(item.check, reply)
    return Verdict(measure=item.measure, is_good=finding.is_good, why=finding.why)


def all_measures(items: Iterable[Item], judged: Sequence[Judged]) -> tuple[Measure, ...]:
    topics = dict.fromkeys(item.topic for item in items)
    return tuple(measure for topic in topics for measure in measures(topic, judged))


def measures(topic: str, judged: Iterable[Judged]) -> tuple[Measure, ...]:
    """The share of right answers: of each kind of the topic's items, of all of them, and in points
    how it has changed. Where the base was not asked there is no change."""
    asked = [each for each in judged if each.probe.topic == topic]
    kinds = list(dict.fromkeys(each.verdicts[0].measure for each in asked))
    found = [_share(kind, [each for each in asked if kind == _kind(each)]) for kind in kinds]
    if kinds != [topic]:
        found.append(_share(topic, asked))
    change = paired_change(topic, asked)
    return (*found, *([] if change is None else [change]))


def paired_change(topic: str, judged: Sequence[Judged]) -> Measure | None:
    """``<topic>_change``: points that the tuned model gained on its base, over the items that both
    were asked. None where there are none."""
    tuned, base = (_by_item(judged, speaker) for speaker in ("tuned", "base"))
    both = tuned.keys() & base.keys()
    if not both:
        return None
    better = sum(tuned[item] and not base[item] for item in both)
    worse = sum(base[item] and not tuned[item] for item in both)
    low, high = paired_shares(better, worse, len(both))
    return Measure(
        name=f"{topic}_change",
        value=POINTS * (better - worse) / len(both),
        low=POINTS * low,
        high=POINTS * high,
        num=len(both),
        better="higher",
        unit="points",
    )


def _share(name: str, judged: Sequence[Judged]) -> Measure:
    tuned, base = (list(_by_item(judged, speaker).values()) for speaker in ("tuned", "base"))
    low, high = wilson(sum(tuned), len(tuned))
    return Measure(
        name=name,
        value=sum(tuned) / max(len(tuned), 1),
        low=low,
        high=high,
        num=len(tuned),
        better="higher",
        base=sum(base) / len(base) if base else None,
    )


def _by_item(judged: Iterable[Judged], speaker: str) -> dict[str, bool]:
    return {each.probe.id: each.is_good for each in judged if each.speaker == speaker}


def _kind(judged: Judged) -> str:
    return judged.verdicts[0].measure
