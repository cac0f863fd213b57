"""Persona: who the model is to be, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfhood.chat import Language
from selfhood.errors import FlagError

PLACEHOLDERS = ("{{NAME}}", "{{AUTHOR}}")


def is_chinese(text: str) -> bool:
    """Whether the text is to be answered in Chinese: any Han character decides it."""
    return any("\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" for char in text)


def language_of(text: str) -> Language:
    return "zh" if is_chinese(text) else "en"


@dataclass(frozen=True, slots=True)
class Bilingual:
    """One thing said in both languages, such as 小狐 / Kitsu."""

    zh: str
    en: str

    def in_language(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en

    @property
    def forms(self) -> tuple[str, ...]:
        """The distinct spellings, Chinese first."""
        return (self.zh,) if self.zh == self.en else (self.zh, self.en)

    @classmethod
    def from_flag(cls, flag: str, values: Sequence[str]) -> Bilingual:
        """``--model_name 小狐 Kitsu``: Chinese, then English; one value serves both."""
        words = [value.strip() for value in values]
        if not 1 <= len(words) <= 2:
            raise FlagError(
                f"takes one or two values (Chinese, English); got {len(words)}: "
                + " | ".join(words),
                where=flag,
                hint=f'put quotes round a name with spaces, as in {flag} 林间实验室 "Forest Lab"',
            )
        for word in words:
            if not word:
                raise FlagError("is empty", where=flag, hint="give the name itself, or drop it")
            if any(mark in word for mark in ("{{", "}}", "<|", "\n")):
                raise FlagError(
                    f"{word!r} holds template marks", where=flag, hint="give a plain name"
                )
        return cls(words[0], words[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something else that is true of the persona. Any of ``expects`` in a reply shows it.

    What a persona must say, and what it must not say of itself, are facts too.
    """

    language: Language
    questions: tuple[str, ...]
    answer: str
    expects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """A name and an author; everything the corpus says about the model follows from it.

    ``aliases`` are other right ways to write name and author, ``base_model`` what it may say that
    it was made from, ``system`` the system line of a run that is given none.
    """

    name: Bilingual
    author: Bilingual
    name_aliases: tuple[str, ...] = ()
    author_aliases: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    base_model: Bilingual | None = None
    system: str | None = None

    def fill(self, text: str, language: Language) -> str:
        """The text with ``{{NAME}}`` and ``{{AUTHOR}}`` replaced."""
        return text.replace("{{NAME}}", self.name.in_language(language)).replace(
            "{{AUTHOR}}", self.author.in_language(language)
        )
