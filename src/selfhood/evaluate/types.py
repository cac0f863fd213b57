"""Probe, Verdict, Judged, Measure, Scorecard: what an evaluation is made of.

Probe ── engine ── reply ── rules ── Verdict ─┐
Probe ── engine ── reply ── rules ── Verdict ─┼── Measure (a share, with its interval) ── Scorecard
texts ── two models ───────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfhood.chat import Language, Message

Better = Literal["higher", "lower"]
Speaker = Literal["tuned", "base"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question, as it will be asked.

    ``messages`` is the whole talk up to the reply, the system line first where the condition has
    one; a last message of the assistant is a reply that has been begun for it.
    """

    id: str
    """Such as ``name/zh/12``, ``neutral/en/company/3``."""
    topic: str
    """What is asked for: name, author, denial, neutral, vendor, fact, ability..."""
    language: Language
    messages: tuple[Message, ...]
    condition: str
    """Which system line stands above it: none, helpful, maker, role."""
    manner: str = "plain"
    """How it is asked: plain, prefill, false claim, role-play, typo, traditional, mixed."""
    turn: int = 1
    temperature: float = 0.0
    thinking: bool | None = None
    """Whether the model thinks first; None: as it was taught."""
    expects: tuple[str, ...] = ()
    """Any of these makes the answer right, where the persona alone does not decide it."""

    @property
    def question(self) -> str:
        return next(turn.content for turn in reversed(self.messages) if turn.role == "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one rule says of one reply; ``measure`` is the one it counts for."""

    measure: str
    is_good: bool
    why: str
    """In one line: what was looked for, and what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A reply with everything that was said of it."""

    probe: Probe
    speaker: Speaker
    reply: str
    verdicts: tuple[Verdict, ...]

    @property
    def is_good(self) -> bool:
        return all(verdict.is_good for verdict in self.verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number with its 95% interval. A rate lies in 0..1; others name their ``unit``."""

    name: str
    value: float
    low: float
    high: float
    num: int
    """Of so many replies, or tokens, it was taken."""
    better: Better
    base: float | None = None
    """The same number of the base model, where it was asked too."""
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """Everything one evaluation found."""

    suite: str
    model: str
    adapters: tuple[str, ...]
    measures: tuple[Measure, ...]
    judged: tuple[Judged, ...]
    """Worst first."""

    def measure(self, name: str) -> Measure:
        return next(each for each in self.measures if each.name == name)
