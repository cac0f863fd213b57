"""What ``--suite quick`` and ``--suite full`` take of the texts.

quick   some questions, each once, greedy, at turn 1, under two system lines in turn
full    every question under every system line; and each once more at turn 4, at turn 8 and
        sampled, with the system lines in turn
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfhood.evaluate.conditions import CONDITIONS, Condition

SAMPLED = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The circumstances of one question."""

    condition: Condition
    turn: int = 1
    temperature: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Of each row of ``rounds`` a question about the model meets one setting, the next question
    the next one; one about anything else meets one of the first round."""

    name: str
    rounds: tuple[tuple[Setting, ...], ...]
    most: Mapping[str, int]
    """Topic -> how many questions are taken at most."""


QUICK = Suite(
    name="quick",
    rounds=((Setting(condition="none"), Setting(condition="helpful")),),
    most={
        "name": 20,
        "author": 20,
        "denial": 20,
        "fact": 12,
        "neutral": 48,
        "vendor": 12,
        "ability": 32,
    },
)
_LINES = tuple(Setting(condition=condition) for condition in CONDITIONS)
FULL = Suite(
    name="full",
    rounds=(
        # Each turned by one place against the last, so that every question meets all of them.
        *((*_LINES[start:], *_LINES[:start]) for start in range(len(_LINES))),
        tuple(Setting(condition=condition, turn=4) for condition in CONDITIONS),
        tuple(Setting(condition=condition, turn=8) for condition in CONDITIONS),
        tuple(Setting(condition=condition, temperature=SAMPLED) for condition in CONDITIONS),
    ),
    most={},
)
SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (QUICK, FULL)}
