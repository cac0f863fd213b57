"""Pasted command lines -> clean words: continuation marks, kebab-case, old names, config files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from selfhood.cli.compat import ALIASES, NO_EFFECT, STAND_INS, VALUES
from selfhood.errors import FlagError, MissingError

CONFIG_KINDS = (".yaml", ".yml", ".json", ".toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFlag:
    """One flag as typed: the option it stands for and its raw values."""

    typed: str
    name: str
    values: tuple[str, ...]


def clean(argv: Sequence[str]) -> list[str]:
    r"""Undo what a one-line paste does to ``\`` + line break: `` --model`` and lone ``\``."""
    words = []
    for word in argv:
        stripped = word.strip()
        if stripped.startswith("--"):
            words.append(stripped)
        elif word == "" or stripped not in ("", "\\"):
            words.append(word)
    return words


def split_flags(words: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``--a 1 2 --b=3`` -> ("a", ("1", "2")), ("b", ("3",))."""
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
        yield flag, tuple(values)


def resolve(flag: str, values: tuple[str, ...], known: Sequence[str]) -> tuple[GivenFlag, str]:
    """The option a flag stands for, and what to tell the user about it ('' if nothing).

    A unique beginning of a name is enough, as with argparse.
    """
    typed = f"--{flag}"
    name = flag.replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in known and name not in NO_EFFECT:
        name = _complete(name, known, typed)
    if name not in known:
        return GivenFlag(typed=typed, name="", values=()), f"{typed} has no effect here: " + (
            NO_EFFECT[name]
        )
    notices = [
        f"{typed} {value}: {STAND_INS[name][value]}"
        for value in values
        if value in STAND_INS.get(name, {})
    ]
    translated = tuple(VALUES.get(name, {}).get(value, value) for value in values)
    return GivenFlag(typed=typed, name=name, values=translated), "; ".join(notices)


def _complete(name: str, known: Sequence[str], typed: str) -> str:
    if name.startswith("no_") and name[3:] in known:
        raise FlagError("is written as a value", where=typed, hint=f"use --{name[3:]} false")
    begun = [option for option in known if option.startswith(name)]
    if len(begun) == 1 and len(name) > 2:
        return begun[0]
    candidates = [*known, *ALIASES, *NO_EFFECT]
    near = begun[:3] or get_close_matches(name, candidates, n=1, cutoff=0.6)
    hint = f"did you mean {' or '.join(f'--{option}' for option in near)}?" if near else None
    raise FlagError("unknown flag", where=typed, hint=hint or "see --help")


def read_config(path: Path) -> Mapping[str, Any]:
    """A config file: keys are flag names. ``ENV:`` sets environment variables that are not set."""
    if not path.is_file():
        raise MissingError("no such config file", where=str(path))
    values = _parse(path)
    if not isinstance(values, dict):
        raise FlagError("holds no keys and values", where=str(path))
    for name, value in (values.pop("ENV", None) or {}).items():
        os.environ.setdefault(str(name), str(value))
    return values


def _parse(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".toml":
            import tomllib

            return tomllib.loads(text)
        if path.suffix == ".json":
            import json

            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except ValueError as error:  # TOML and JSON
        raise FlagError(str(error), where=str(path)) from error
    except Exception as error:  # yaml.YAMLError, which cannot be named before its import
        if type(error).__module__.startswith("yaml"):
            raise FlagError(" ".join(str(error).split()), where=str(path)) from error
        raise


def config_words(values: Mapping[str, Any], path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Config keys and values in the form of flags."""
    words: list[tuple[str, tuple[str, ...]]] = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            raise FlagError("has keys of its own", where=f"{path}: {name}", hint="keys are flat")
        items = value if isinstance(value, list) else [value]
        words.append((str(name), tuple(_word(item) for item in items)))
    return words


def _word(item: object) -> str:
    return str(item).lower() if isinstance(item, bool) else str(item)
