"""Persona x texts x suite -> the questions that will be asked, each with everything before it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from selfhood.chat import Language, Message
from selfhood.data.facts import fact_questions
from selfhood.data.interleave import interleaved
from selfhood.evaluate.claims import as_word
from selfhood.evaluate.conditions import system_line
from selfhood.evaluate.suites import Setting, Suite
from selfhood.evaluate.texts import EvaluationTexts
from selfhood.evaluate.types import Probe
from selfhood.persona import Persona

ABOUT_ITSELF = ("name", "author", "denial", "fact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question before it is put into a talk."""

    id: str
    topic: str
    language: Language
    text: str
    manner: str = "plain"
    prefill: str = ""
    expects: tuple[str, ...] = ()


def make_probes(
    persona: Persona,
    texts: Sequence[EvaluationTexts],
    suite: Suite,
    *,
    limit: int | None = None,
    seed: int,
) -> tuple[Probe, ...]:
    """``limit`` is how many probes there may be of each topic. What is left out is chosen with
    ``seed``, evenly over languages and manners."""
    by_language = {each.language: each for each in texts}
    questions = [question for each in texts for question in _questions(each, persona)]
    probes = [
        _probe(question, setting, number, by_language[question.language])
        for number, question in enumerate(_at_most(questions, suite, seed))
        for setting in _settings(suite, question, number)
    ]
    return tuple(probes if limit is None else _limited(probes, limit, seed))


def in_other_mode(probes: Sequence[Probe], *, thinking: bool) -> tuple[Probe, ...]:
    """Each question about itself once more, greedy and at the first turn, thinking first or not."""
    once = {
        probe.id: replace(probe, thinking=thinking)
        for probe in reversed(probes)
        if probe.topic in ABOUT_ITSELF
        and (probe.turn, probe.temperature) == (1, 0)
        and probe.messages[-1].role == "user"
    }
    return tuple(reversed(once.values()))


def _questions(texts: EvaluationTexts, persona: Persona) -> Iterator[Question]:
    language, own = texts.language, _own_words(persona)
    for number, each in enumerate(texts.identity, start=1):
        # A persona called Claude is not asked to deny that name.
        if not own.search(f"{each.question}\n{each.brand}"):
            yield Question(
                id=f"{each.about}/{language}/{number}",
                topic=each.about,
                language=language,
                text=each.question,
                manner=each.manner,
                prefill=each.prefill,
            )
    facts = [fact for fact in persona.facts if fact.language == language]
    told = [(question, fact.expects) for fact in facts for question in fact_questions(fact)]
    for number, (text, expects) in enumerate(told, start=1):
        yield Question(
            id=f"fact/{language}/{number}",
            topic="fact",
            language=language,
            text=text,
            expects=expects,
        )
    for number, ordinary in enumerate(texts.neutral, start=1):
        yield Question(
            id=f"neutral/{language}/{ordinary.topic}/{number}",
            topic="neutral",
            language=language,
            text=ordinary.question,
        )
    for number, asked in enumerate(texts.vendor, start=1):
        yield Question(
            id=f"vendor/{language}/{number}",
            topic="vendor",
            language=language,
            text=asked.question,
            expects=asked.expects,
        )


def _own_words(persona: Persona) -> re.Pattern[str]:
    forms = (
        *persona.name.forms, *persona.author.forms, *persona.name_aliases, *persona.author_aliases
    )  # fmt: skip
    return re.compile("|".join(map(as_word, forms)))


def _at_most(questions: Iterable[Question], suite: Suite, seed: int) -> Iterator[Question]:
    by_topic: dict[str, list[Question]] = {}
    for question in questions:
        by_topic.setdefault(question.topic, []).append(question)
    for topic, group in by_topic.items():
        spread = interleaved(
            group, [lambda each: each.language, lambda each: each.manner], random.Random(seed)
        )
        yield from spread[: suite.most.get(topic)]


def _settings(suite: Suite, question: Question, number: int) -> Iterator[Setting]:
    rounds = suite.rounds if question.topic in ABOUT_ITSELF else suite.rounds[:1]
    for settings in rounds:
        yield settings[number % len(settings)]


def _probe(question: Question, setting: Setting, number: int, texts: EvaluationTexts) -> Probe:
    messages = [Message("system", system_line(setting.condition, roles=texts.roles, number=number))]
    for place in range(setting.turn - 1):
        filler = texts.fillers[(number + place) % len(texts.fillers)]
        messages += [Message("user", filler.question), Message("assistant", filler.reply)]
    messages.append(Message("user", question.text))
    if question.prefill:
        messages.append(Message("assistant", question.prefill))
    return Probe(
        id=question.id,
        topic=question.topic,
        language=question.language,
        messages=tuple(messages),
        condition=setting.condition,
        manner=question.manner,
        turn=setting.turn,
        temperature=setting.temperature,
        expects=question.expects,
    )


def _limited(probes: Sequence[Probe], limit: int, seed: int) -> Iterator[Probe]:
    by_topic: dict[str, list[Probe]] = {}
    for probe in probes:
        by_topic.setdefault(probe.topic, []).append(probe)
    for group in by_topic.values():
        axes = [lambda each: each.language, lambda each: f"{each.condition}{each.turn}"]
        yield from interleaved(group, axes, random.Random(seed))[:limit]
