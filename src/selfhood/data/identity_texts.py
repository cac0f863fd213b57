"""What people ask a model about itself, as it was written: identity/zh.toml and identity/en.toml.

Questions and replies have placeholders where the persona's names go; ``corpus`` makes rows of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

from selfhood.chat import Language

Topic = Literal[
    "name", "author", "nature", "abilities", "limits", "brands", "denial", "still", "user", "mixup",
    "contrast", "ordinary", "fact",
]  # fmt: skip
Asker = Literal["plain", "polite", "child", "developer", "sceptic", "casual"]
Shape = Literal["plain", "follow-up", "indirect", "mixed", "bare", "maker", "role"]

LANGUAGES: tuple[Language, ...] = get_args(Language)
TOPICS: tuple[Topic, ...] = tuple(each for each in get_args(Topic) if each != "fact")
"""Those of the texts."""
ASKERS: tuple[Asker, ...] = get_args(Asker)
SHAPES: tuple[Shape, ...] = get_args(Shape)

NO_SYSTEM_LINE = ""
HELPFUL_SYSTEM_LINE = "You are a helpful assistant."
MAKER_SYSTEM_LINE = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

# Kinds of facts that tell other models apart from this one; the other kinds are ordinary.
ON_OTHER_MODELS = ("ai-makers", "corrections")

# Of the replies that fit a question. What cannot be foreseen cannot be learnt: with many wordings
# the loss stays high, and keeps pulling at everything else.
MOST_REPLIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Where a row lies on the axes."""

    language: Language
    topic: Topic
    asker: Asker
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question as it was written, placeholders and all, with every reply that fits it.

    The first of ``replies`` is the one to give; the others are for when it is asked again.
    ``lead`` is what was said before it: user, assistant, user, assistant...
    """

    cell: Cell
    question: str
    replies: tuple[str, ...]
    lead: tuple[str, ...] = ()
    system: str | None = None
    fact: int = 0
    """Which of the persona's facts it is, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One language's file."""

    language: Language
    asks: tuple[Ask, ...]
    openings: tuple[tuple[str, ...], ...]
    roles: tuple[str, ...]


def read_texts(language: Language) -> Texts:
    """The texts of one language, unfilled."""
    source = files("selfhood.data").joinpath("identity", f"{language}.toml")
    table = tomllib.loads(source.read_text(encoding="utf-8"))
    return Texts(
        language=language,
        asks=(*_blocks(table, language), *_facts(table, language), *_talks(table, language)),
        openings=tuple(tuple(opening["turns"]) for opening in table["opening"]),
        roles=tuple(table["roles"]),
    )


def _blocks(table: dict[str, Any], language: Language) -> Iterator[Ask]:
    for block in table["block"]:
        cell = _cell(block, language, block["topic"])
        for turn, question in enumerate(block["ask"]):
            yield Ask(
                cell=cell, question=question, replies=turned(block["reply"][:MOST_REPLIES], turn)
            )


def _facts(table: dict[str, Any], language: Language) -> Iterator[Ask]:
    for facts in table["facts"]:
        topic: Topic = "contrast" if facts["kind"] in ON_OTHER_MODELS else "ordinary"
        cell = _cell(facts, language, topic)
        for question, reply in facts["pairs"]:
            yield Ask(cell=cell, question=question, replies=(reply,))


def _talks(table: dict[str, Any], language: Language) -> Iterator[Ask]:
    for talk in table["talk"]:
        *lead, question, reply = talk["turns"]
        cell = Cell(language=language, topic=talk["topic"], asker="plain", shape="follow-up")
        yield Ask(cell=cell, question=question, replies=(reply,), lead=tuple(lead))


def _cell(entry: dict[str, Any], language: Language, topic: Topic) -> Cell:
    return Cell(
        language=language, topic=topic, asker=entry["asker"], shape=entry.get("shape", "plain")
    )


def turned(replies: Sequence[str], times: int) -> tuple[str, ...]:
    """The replies with another in front, so that a block's questions take turns in using them."""
    front = times % len(replies)
    return (*replies[front:], *replies[:front])
