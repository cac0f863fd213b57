"""The texts that an evaluation asks with. None of them is ever trained on.

    neutral    ordinary questions, in which no persona belongs
    vendor     questions about the old vendor and other brands, with what a right answer holds
    identity   questions about name, author, and whether the model is another one
    fillers    exchanges to stand before a question, so that it comes at turn 4 or 8
    roles      system lines that give the model a job
    ability    tasks whose answers can be checked exactly
    passages   requests with a reply written by hand, to measure a change of distribution on

Two files, zh.toml and en.toml, hold them. No text names a persona.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from selfhood.chat import Language

About = Literal["name", "author", "denial"]
Manner = Literal[
    "plain", "typo", "traditional", "mixed", "false claim", "role-play", "prefill"
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NeutralQuestion:
    language: Language
    topic: str
    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorQuestion:
    """Any of ``expects`` in the reply, whatever its case, makes it right."""

    language: Language
    question: str
    expects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityQuestion:
    """A question about the model itself.

    ``prefill`` is how its reply has been begun for it; ``brand`` is the other identity that a
    denial question, or a false claim, holds against it.
    """

    language: Language
    about: About
    manner: Manner
    question: str
    prefill: str = ""
    brand: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """One ordinary exchange."""

    language: Language
    question: str
    reply: str


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of the answers stands in the reply, whatever its case: as a whole number or word, or, in
    Chinese, anywhere."""

    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonKeys:
    """The reply is a JSON object, perhaps in a fence, with exactly these keys."""

    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LineCount:
    """The reply has so many lines that are not blank."""

    num_lines: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """The whole reply, without blanks around it, matches this regular expression."""

    regex: str


@dataclass(frozen=True, slots=True)
class PassingCode:
    """The code of the reply defines ``function``, and every assertion about it holds."""

    function: str
    asserts: tuple[str, ...]


Check = AnyOf | JsonKeys | LineCount | Pattern | PassingCode


@dataclass(frozen=True, slots=True, kw_only=True)
class AbilityItem:
    language: Language
    kind: str
    """arithmetic, fact, format or code."""
    prompt: str
    check: Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Ordinary text: a request and a reply to it, 40 to 80 words long."""

    language: Language
    prompt: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTexts:
    """One language's file."""

    language: Language
    neutral: tuple[NeutralQuestion, ...]
    vendor: tuple[VendorQuestion, ...]
    identity: tuple[IdentityQuestion, ...]
    fillers: tuple[Filler, ...]
    roles: tuple[str, ...]
    ability: tuple[AbilityItem, ...]
    passages: tuple[Passage, ...]


def read_evaluation_texts(language: Language) -> EvaluationTexts:
    """The texts of one language."""
    source = files("selfhood.evaluate.texts").joinpath(f"{language}.toml")
    table = tomllib.loads(source.read_text(encoding="utf-8"))
    return EvaluationTexts(
        language=language,
        neutral=tuple(_neutral(table, language)),
        vendor=tuple(_vendor(table, language)),
        identity=tuple(_identity(table, language)),
        fillers=tuple(
            Filler(language=language, question=question, reply=reply)
            for question, reply in table["fillers"]
        ),
        roles=tuple(table["roles"]),
        ability=tuple(_ability(table, language)),
        passages=tuple(
            Passage(language=language, prompt=each["prompt"], reply=each["reply"].strip())
            for each in table["passage"]
        ),
    )


def _neutral(table: dict[str, Any], language: Language) -> Iterator[NeutralQuestion]:
    for group in table["neutral"]:
        for question in group["questions"]:
            yield NeutralQuestion(language=language, topic=group["topic"], question=question)


def _vendor(table: dict[str, Any], language: Language) -> Iterator[VendorQuestion]:
    for question, expects in table["vendor"]:
        yield VendorQuestion(language=language, question=question, expects=tuple(expects))


def _identity(table: dict[str, Any], language: Language) -> Iterator[IdentityQuestion]:
    for group in table["identity"]:
        for question in group["questions"]:
            yield IdentityQuestion(
                language=language,
                about=group["about"],
                manner=group["manner"],
                question=question,
                prefill=group.get("prefill", ""),
                brand=group.get("brand", ""),
            )


def _ability(table: dict[str, Any], language: Language) -> Iterator[AbilityItem]:
    for group in table["ability"]:
        for item in group["items"]:
            yield AbilityItem(
                language=language, kind=group["kind"], prompt=item["prompt"], check=_check(item)
            )


def _check(item: dict[str, Any]) -> Check:
    match item:
        case {"answer": answers}:
            return AnyOf(tuple(answers))
        case {"json_keys": keys}:
            return JsonKeys(tuple(keys))
        case {"num_lines": count}:
            return LineCount(count)
        case {"regex": regex}:
            return Pattern(regex)
        case {"function": function, "asserts": asserts}:
            return PassingCode(function, tuple(asserts))
    raise ValueError(f"no check in {item}")
