"""Questions for trials of the recipe, put as a stranger would put them.

Neither a row nor the anchor holds any (tests/test_held_out.py). A third comes late in a talk, and
all of them under the system lines of the evaluation in turn.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from itertools import count
from typing import get_args

from selfhood.chat import Language, Message
from selfhood.evaluate.conditions import CONDITIONS, system_line
from selfhood.evaluate.texts import read_evaluation_texts
from selfhood.evaluate.types import Probe

LANGUAGES: tuple[Language, ...] = get_args(Language)
LATE_EVERY, EARLIER = 3, 3
"""One question in three comes after three others."""


def questions(language: Language) -> dict[str, list[str]]:
    """Topic -> questions."""
    source = files("bench.asked").joinpath(f"{language}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def probes() -> Iterator[Probe]:
    for language in LANGUAGES:
        number = count()
        for topic, asked in questions(language).items():
            for question in asked:
                yield probe(topic, language, question, next(number))


def probe(topic: str, language: Language, question: str, number: int) -> Probe:
    texts = read_evaluation_texts(language)
    condition = CONDITIONS[number % len(CONDITIONS)]
    messages = [Message("system", system_line(condition, roles=texts.roles, number=number))]
    is_late = number % LATE_EVERY == LATE_EVERY - 1
    for place in range(EARLIER if is_late else 0):
        filler = texts.fillers[(number + place) % len(texts.fillers)]
        messages += [Message("user", filler.question), Message("assistant", filler.reply)]
    return Probe(
        id=f"asked/{topic}/{language}/{number}",
        topic=topic,
        language=language,
        messages=(*messages, Message("user", question)),
        condition=condition,
        turn=EARLIER + 1 if is_late else 1,
    )
