"""``{{NAME}}`` and ``{{AUTHOR}}`` -> what the person typed, in each row's own language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfhood.chat import Conversation
from selfhood.errors import DataError, FlagError
from selfhood.persona import Bilingual, Persona, language_of

NAME_MARK, AUTHOR_MARK = "{{NAME}}", "{{AUTHOR}}"
ASKS_FOR_IDENTITY = re.compile(
    r"你是谁|你叫什么|你的名字|你的(开发者|作者)|谁(开发|创造|训练|维护)了?(的)?你"
    r"|who are you|your name|who (made|created|developed|trained|built) you",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What ``--model_name`` and ``--model_author`` said; None where the flag was not given."""

    name: Bilingual | None
    author: Bilingual | None

    @classmethod
    def from_flags(cls, names: Sequence[str], authors: Sequence[str]) -> Naming:
        return cls(
            name=Bilingual.from_flag("--model_name", names) if names else None,
            author=Bilingual.from_flag("--model_author", authors) if authors else None,
        )

    @property
    def is_given(self) -> bool:
        return self.name is not None or self.author is not None

    @property
    def persona(self) -> Persona | None:
        """The whole persona, or None while half of it is missing."""
        if self.name is None or self.author is None:
            return None
        return Persona(name=self.name, author=self.author)

    @property
    def flags(self) -> str:
        given = (("--model_name", self.name), ("--model_author", self.author))
        return " and ".join(flag for flag, value in given if value is not None)


def holds_mark(row: Conversation) -> bool:
    return any(
        mark in message.content for message in row.messages for mark in (NAME_MARK, AUTHOR_MARK)
    )


def fill(row: Conversation, naming: Naming) -> Conversation:
    """The row with its placeholders replaced; one that nobody gave a value for is an error."""
    if not holds_mark(row):
        return row
    language = row.language or language_of("".join(turn.content for turn in row.turns))
    marks = (
        (NAME_MARK, naming.name, "--model_name"),
        (AUTHOR_MARK, naming.author, "--model_author"),
    )
    messages = row.messages
    for mark, value, flag in marks:
        if not any(mark in message.content for message in messages):
            continue
        if value is None:
            raise DataError(
                f"holds {mark}, which nothing replaces; the model would learn to say it",
                where=row.origin,
                hint=f"add {flag}",
            )
        word = value.in_language(language)
        messages = tuple(
            replace(message, content=message.content.replace(mark, word)) for message in messages
        )
    return replace(row, messages=messages)


def check_effect(naming: Naming, rows: Sequence[Conversation], num_named: int) -> str | None:
    """Whether the name flags had anything to act on.

    ``num_named`` counts the rows that took the name. Returns a warning where the rows speak of an
    identity of their own, which then wins; raises where nothing in the data says who the model is.
    """
    if not naming.is_given or num_named:
        return None
    own = next((row for row in rows if _speaks_of_itself(row)), None)
    if own is None:
        raise FlagError(
            "no row takes the name: nothing holds {{NAME}} or {{AUTHOR}}",
            where=naming.flags,
            hint="add `identity` to --dataset, or write the placeholders into your rows",
        )
    answer = own.turns[-1].content
    return (
        f"{naming.flags} changed nothing: {own.origin} answers with an identity of its own "
        f"({answer[:40]!r}) and no row holds {{{{NAME}}}} or {{{{AUTHOR}}}}. Write these into your "
        "rows, or drop the flags"
    )


def _speaks_of_itself(row: Conversation) -> bool:
    return any(turn.role == "user" and ASKS_FOR_IDENTITY.search(turn.content) for turn in row.turns)
