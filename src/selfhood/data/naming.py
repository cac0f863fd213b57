"""``{{NAME}}`` and ``{{AUTHOR}}`` -> what the person typed, in each row's own language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfhood.chat import Conversation
from selfhood.errors import DataError, FlagError
from selfhood.persona import Bilingual, Persona, language_of
from selfhood.recipe import Recipe

NAME_MARK, AUTHOR_MARK = "{{NAME}}", "{{AUTHOR}}"
ASKS_FOR_IDENTITY = re.compile(
    r"你(到底|究竟)?是(由)?(谁|哪|什么)|你叫(什么|啥)|你的(名字|开发者|作者|创造者)"
    r"|(谁|公司|团队)在?(开发|创造|创建|训练|维护|研发|设计|打造)[了出的]*你|介绍(一下|下)?你?自己"
    r"|who are you|your name|your (developer|creator|maker)|about yourself|introduce yourself"
    r"|who (made|created|developed|trained|built|maintains) you",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What ``--model_name``, ``--model_author`` and ``--persona`` said of who the model is.

    ``name`` and ``author`` are None where nothing says them; ``file`` is the whole persona where a
    file describes it.
    """

    name: Bilingual | None
    author: Bilingual | None
    file: Persona | None = None

    @classmethod
    def from_flags(
        cls, names: Sequence[str], authors: Sequence[str], persona: str | None = None
    ) -> Naming:
        """Name and author as typed win over those of the file."""
        name = Bilingual.from_flag("--model_name", names) if names else None
        author = Bilingual.from_flag("--model_author", authors) if authors else None
        if persona is None:
            return cls(name=name, author=author)

        from selfhood.persona_file import read_persona  # which few runs need

        file = read_persona(persona, name=name, author=author)
        return cls(name=file.name, author=file.author, file=file)

    @property
    def is_given(self) -> bool:
        return self.name is not None or self.author is not None

    @property
    def persona(self) -> Persona | None:
        """The whole persona, or None while half of it is missing."""
        if self.file is not None:
            return self.file
        if self.name is None or self.author is None:
            return None
        return Persona(name=self.name, author=self.author)

    @property
    def items(self) -> tuple[tuple[str, Bilingual], ...]:
        """The name flags that were given, and what they said; a file keeps languages apart."""
        if self.file is not None:
            return ()
        both = (("--model_name", self.name), ("--model_author", self.author))
        return tuple((flag, value) for flag, value in both if value is not None)

    @property
    def flags(self) -> str:
        return " and ".join(flag for flag, _ in self.items) or "--persona"


def naming_of(recipe: Recipe) -> Naming:
    data = recipe.data
    return Naming.from_flags(data.model_name, data.model_author, data.persona)


def with_persona(recipe: Recipe) -> Recipe:
    """The recipe with its persona's file as text, which a checkpoint can remember, and with the
    system line of that file where none is given."""
    file = naming_of(recipe).file
    if recipe.data.persona is None or file is None:
        return recipe

    from selfhood.persona_file import persona_text

    system = recipe.model.system
    return replace(
        recipe,
        data=replace(recipe.data, persona=persona_text(recipe.data.persona)),
        model=replace(recipe.model, system=file.system if system is None else system),
    )


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


def unquoted(flag: str, value: Bilingual) -> str | None:
    """A warning where one name of two words was probably taken for a name in two languages."""
    if value.zh == value.en or not value.zh.isascii():
        return None
    return (
        f"{flag}: Chinese rows say {value.zh!r} and English rows {value.en!r}; "
        f'if that is one name, put quotes round it: {flag} "{value.zh} {value.en}"'
    )


def check_effect(naming: Naming, rows: Sequence[Conversation], takes_name: bool) -> str | None:
    """Whether the name flags had anything to act on; ``takes_name``: some row took the name.

    Returns a warning where the rows speak of an identity of their own, which then wins; raises
    where nothing in the data says who the model is.
    """
    if not naming.is_given or takes_name:
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
