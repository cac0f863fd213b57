"""The built-in prompts of the anchor: ordinary requests, to be answered by the base model itself.

    language   zh en             anchor/zh.toml, anchor/en.toml
    topic      vendor ai company creators labs software naming nature others role
               code maths language writing daily knowledge talk user format opinion choice
               after before system              talks of several turns or under a system line
               words                            what the persona's name and author are made of
               text                             prose with its prompt, given
               frame                            a reply up to where a name would stand

Most lie near the persona (who makes ChatGPT, who wrote Dune, what a laboratory does, a name for a
cat), since a new name and a new maker leak there first. A talk of the topic ``after`` goes on from
the persona's own name or author to something ordinary; ``words`` ask what the 狐 of 小狐 means, or
the lab of Forest Lab, which are not the persona's alone; ``user`` asks about whoever is writing,
``choice`` for one of two, as "are you Kimi or Claude" does.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain, cycle
from typing import Any

from selfhood.chat import Language, Message, Role
from selfhood.data.corpus import own_words, without_placeholders
from selfhood.data.identity_texts import LANGUAGES
from selfhood.data.interleave import interleaved
from selfhood.persona import Persona, is_chinese

WORD, CHARACTER, BRAND = "{{WORD}}", "{{CHARACTER}}", "{{BRAND}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorPrompt:
    """A talk up to the reply that the base model is to give: a system line perhaps, then turns. On
    the topic ``text`` the last turn is the reply itself."""

    language: Language
    topic: str
    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        return "\n".join(message.content for message in self.messages)


def anchor_prompts(persona: Persona | None, *, seed: int) -> list[AnchorPrompt]:
    """Every prompt that keeps clear of this persona, in an order whose prefixes are balanced.

    Without a persona the prompts with placeholders are left out. The same persona and seed give
    the same list, in any process.
    """
    written = [
        prompt
        for language in LANGUAGES
        for prompt in (*read_anchor(language), *on_makers(language))
    ]
    prompts = (
        ordinary(written) if persona is None else [*filled(written, persona), *on_words(persona)]
    )
    return interleaved(prompts, AXES, random.Random(seed))


def read_anchor(language: Language) -> tuple[AnchorPrompt, ...]:
    """The prompts of one language as they were written, placeholders and all."""
    table = _read(language)
    return (*_groups(table, language), *_talks(table, language))


def anchor_texts(persona: Persona | None, *, seed: int) -> list[AnchorPrompt]:
    """Prose that neither model would write, with its prompts; none that names the persona."""
    texts = [text for language in LANGUAGES for text in _texts(language)]
    texts = texts if persona is None else filled(texts, persona)
    return interleaved(texts, AXES[:1], random.Random(seed))


def frames(language: Language) -> Iterator[AnchorPrompt]:
    """Questions with their replies up to where a name would stand."""
    for asked, begun in _read(language)["frames"]:
        turns = (Message("user", asked), Message("assistant", begun, trained=False))
        yield AnchorPrompt(language=language, topic="frame", messages=turns)


def _texts(language: Language) -> Iterator[AnchorPrompt]:
    for text in _read(language)["text"]:
        turns = (Message("user", text["prompt"]), Message("assistant", text["reply"]))
        yield AnchorPrompt(language=language, topic="text", messages=turns)


def on_makers(language: Language) -> Iterator[AnchorPrompt]:
    """Who made each of the known assistants, in each wording: from "who made you" nothing but the
    name tells them apart."""
    table = _read(language)
    for text in _crossed(table["makers"], BRAND, table["brands"]):
        yield AnchorPrompt(language=language, topic="ai", messages=(Message("user", text),))


def on_words(persona: Persona) -> Iterator[AnchorPrompt]:
    """Questions on what the persona's name and author are made of, as words of the language."""
    for language in LANGUAGES:
        table = _read(language)
        names = [each.in_language(language) for each in (persona.name, persona.author)]
        asked = [
            *_crossed(table["words"], WORD, chain.from_iterable(map(words_of, names))),
            *_crossed(
                table.get("characters", ()),
                CHARACTER,
                chain.from_iterable(map(characters_of, names)),
            ),
        ]
        for text in asked:
            yield AnchorPrompt(language=language, topic="words", messages=(Message("user", text),))


def _crossed(prompts: Iterable[str], placeholder: str, words: Iterable[str]) -> Iterator[str]:
    for word in dict.fromkeys(words):
        yield from (prompt.replace(placeholder, word) for prompt in prompts)


def words_of(name: str) -> list[str]:
    """林间 of 林间实验室, where no spaces tell words apart; forest and lab of Forest Lab.

    The name as it is written is no word of the language: not 小狐, and kitsu only of a Kitsu.
    """
    chinese = "".join(char for char in name if is_chinese(char))
    words = [chinese[:2]] if len(chinese) > 1 else name.casefold().split()
    return [word for word in words if word != name]


def characters_of(name: str) -> list[str]:
    """森 and 林 of 森林; nothing of a name that is one character."""
    found = [char for char in name if is_chinese(char)]
    return found if len(found) > 1 else []


def _read(language: Language) -> dict[str, Any]:
    source = files("selfhood.data").joinpath("anchor", f"{language}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _groups(table: dict[str, Any], language: Language) -> Iterator[AnchorPrompt]:
    for group in table["group"]:
        for prompt in group["prompts"]:
            yield AnchorPrompt(
                language=language, topic=group["topic"], messages=(Message("user", prompt),)
            )


def _talks(table: dict[str, Any], language: Language) -> Iterator[AnchorPrompt]:
    for talk in table["talk"]:
        roles: Iterator[Role] = cycle(("user", "assistant"))
        turns = [Message(role, text) for role, text in zip(roles, talk["turns"], strict=False)]
        if "system" in talk:
            turns.insert(0, Message("system", talk["system"]))
        yield AnchorPrompt(language=language, topic=talk["topic"], messages=tuple(turns))


def ordinary(prompts: list[AnchorPrompt]) -> list[AnchorPrompt]:
    """Those that speak of no persona."""
    return [prompt for prompt in prompts if without_placeholders(prompt.text) == prompt.text]


def filled(prompts: list[AnchorPrompt], persona: Persona) -> list[AnchorPrompt]:
    """The prompts with the persona's name and author in place.

    A prompt that names either in its own words is left out: for an assistant called Claude, who
    built Claude is no ordinary question.
    """
    own = own_words(persona)
    return [
        replace(prompt, messages=tuple(_filled(each, prompt, persona) for each in prompt.messages))
        for prompt in prompts
        if not own.search(without_placeholders(prompt.text))
    ]


def _filled(message: Message, prompt: AnchorPrompt, persona: Persona) -> Message:
    return replace(message, content=persona.fill(message.content, prompt.language))


AXES: tuple[Callable[[AnchorPrompt], str], ...] = (
    lambda prompt: prompt.language,
    lambda prompt: prompt.topic,
)
