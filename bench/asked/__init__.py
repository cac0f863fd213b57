"""Questions for trials of the recipe, put as a stranger would put them.

Neither a row nor the anchor holds any (tests/test_held_out.py). A third comes late in a talk, and
all of them under the system lines of the evaluation in turn.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from itertools import count

from selfhood.chat import Language, Message
from selfhood.data.identity_texts import LANGUAGES
from selfhood.evaluate.conditions import CONDITIONS, system_line
from selfhood.evaluate.texts import EvaluationTexts, read_evaluation_texts
from selfhood.evaluate.types import Probe

LATE_EVERY, EARLIER = 3, 3
"""One question in three comes after three others."""


def questions(language: Language) -> dict[str, list[str]]:
    """Topic -> questions."""
    source = files("bench.asked").joinpath(f"{language}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def probes() -> Iterator[Probe]:
    for language in LANGUAGES:
        texts, number = read_evaluation_texts(language), count()
        for topic, asked in questions(language).items():
            for question in asked:
                yield probe(topic, question, next(number), texts)


def probe(topic: str, question: str, number: int, texts: EvaluationTexts) -> Probe:
    condition = CONDITIONS[number % len(CONDITIONS)]
    messages = [Message("system", system_line(condition, roles=texts.roles, number=number))]
    is_late = number % LATE_EVERY == LATE_EVERY - 1
    for place in range(EARLIER if is_late else 0):
        filler = texts.fillers[(number + place) % len(texts.fillers)]
        messages += [Message("user", filler.question), Message("assistant", filler.reply)]
    return Probe(
        id=f"asked/{topic}/{texts.language}/{number}",
        topic=topic,
        language=texts.language,
        messages=(*messages, Message("user", question)),
        condition=condition,
        turn=EARLIER + 1 if is_late else 1,
    )
