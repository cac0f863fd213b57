"""Pasted command lines -> clean words: continuation marks, kebab-case, old names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from selfhood.cli.compat import (
    ALIASES,
    BELONGS_ELSEWHERE,
    NO_EFFECT,
    NOT_CONNECTED,
    STAND_INS,
    UNSUPPORTED,
    VALUES,
    no_effect,
)
from selfhood.errors import FlagError

# What a word processor or a web page makes of "--".
TYPOGRAPHIC_DASH = re.compile(r"[\u2010-\u2015\u2212]+(?=[A-Za-z_-]+(=|$))")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFlag:
    """One flag and its raw values. ``typed`` is what an error message calls it: ``--max_length``,
    or ``my.yaml: max_length``."""

    typed: str
    name: str
    values: tuple[str, ...]

    @property
    def is_from_config(self) -> bool:
        return not self.typed.startswith("--")

    def spell(self, name: str) -> str:
        """Another flag's name, written as this one is."""
        return name if self.is_from_config else f"--{name}"


def clean(argv: Sequence[str]) -> list[str]:
    r"""Undo what a paste does: ``\`` + line break on one line leaves `` --model``, `` value`` and
    lone ``\``, a web page turns ``--`` into a dash and blanks into such as no shell splits at."""
    words: list[str] = []
    is_scraped = any(word.startswith(" --") for word in argv)
    for word in argv:
        stripped = TYPOGRAPHIC_DASH.sub("--", word.strip(), count=1)
        if stripped.startswith("--"):
            words += re.split(r"[\u00a0\u3000]+", stripped, maxsplit=1)
        elif word == "" or stripped not in ("", "\\"):
            words.append(word.removeprefix(" ") if is_scraped else word)
    return words


def split_flags(words: Sequence[str]) -> Iterator[GivenFlag]:
    """``--a 1 2 --b=3`` -> a ("1", "2"), b ("3",)."""
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if not word.startswith("--"):
            raise FlagError(
                f"{word!r} stands where a flag was expected",
                hint="flags begin with --; put quotes round a value with spaces",
            )
        flag, equals, value = word[2:].partition("=")
        values = [value] if equals else []
        while position < len(words) and not words[position].startswith("--"):
            values.append(words[position])
            position += 1
        yield GivenFlag(typed=f"--{flag}", name=flag, values=tuple(values))


def resolve(
    given: GivenFlag, known: Collection[str], elsewhere: Mapping[str, str]
) -> tuple[GivenFlag | None, str]:
    """The option a flag stands for (None: it has no effect), and what to tell the user.

    ``known`` are this verb's options, ``elsewhere`` other verbs' options and where they belong. A
    unique beginning of a name is enough, as with argparse.
    """
    name = given.name.replace("-", "_")
    name = ALIASES.get(name, name)
    if name in UNSUPPORTED:
        if UNSUPPORTED[name].is_harmless(given.values):
            return None, ""
        asked = " ".join(given.values)
        raise FlagError(
            f"{asked!r} is not supported yet" if asked else "is not supported yet",
            where=given.typed,
            hint=UNSUPPORTED[name].hint,
        )
    if name not in known:
        reason = no_effect(name, elsewhere)
        if reason is not None:
            return None, f"{given.typed} has no effect here: {reason}"
        name = _complete(name, given, known, elsewhere)
    for value in given.values:
        if value in NOT_CONNECTED.get(name, {}):
            hint = NOT_CONNECTED[name][value]
            raise FlagError(f"{value} is not connected", where=given.typed, hint=hint)
    notices = [
        f"{given.typed} {value}: {STAND_INS[name][value]}"
        for value in given.values
        if value in STAND_INS.get(name, {})
    ]
    values = tuple(VALUES.get(name, {}).get(value, value) for value in given.values)
    return replace(given, name=name, values=values), "; ".join(notices)


def _complete(
    name: str, given: GivenFlag, known: Collection[str], elsewhere: Mapping[str, str]
) -> str:
    if name in elsewhere:
        raise FlagError(
            f"is a flag of {elsewhere[name]}, not of this verb",
            where=given.typed,
            hint=BELONGS_ELSEWHERE.get(name),
        )
    if name.startswith("no_") and name[3:] in known:
        hint = f"use {given.spell(name[3:])} false"
        raise FlagError("is written as a value", where=given.typed, hint=hint)
    begun = [option for option in known if option.startswith(name)]
    if len(begun) == 1 and len(name) > 2:
        return begun[0]
    candidates = [*known, *ALIASES, *NO_EFFECT, *UNSUPPORTED]
    near = begun[:3] or get_close_matches(name, candidates, n=1, cutoff=0.6)
    spelled = " or ".join(given.spell(option) for option in near)
    raise FlagError(
        "unknown flag", where=given.typed, hint=f"did you mean {spelled}?" if near else "see --help"
    )
