"""Recipe fields -> flags: parsing, help, and one line for every mistake."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from selfhood.cli.argv import (
    GivenFlag,
    clean,
    resolve,
    split_flags,
)
from selfhood.cli.config import CONFIG_KINDS, Config, config_flags, read_config, split_stages
from selfhood.cli.resume import resumed
from selfhood.cli.system import system_line
from selfhood.errors import FlagError
from selfhood.recipe import (
    DeployOptions,
    EvalOptions,
    ExportOptions,
    InferOptions,
    Options,
    Recipe,
    VerbOptions,
    option_info,
)

Verb = TypeVar("Verb", bound=VerbOptions)
TRUE = ("true", "yes", "t", "y", "1", "on")
VERBS_WITH_FLAGS: Mapping[str, type[VerbOptions]] = {
    "deploy": DeployOptions,
    "eval": EvalOptions,
    "export": ExportOptions,
    "infer": InferOptions,
    "sft": Recipe,
}
FALSE = ("false", "no", "f", "n", "0", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One field of an option group, as the command line sees it."""

    name: str
    kind: type
    is_list: bool
    is_optional: bool
    choices: tuple[str, ...]
    default: Any
    help: str

    def parse(self, given: GivenFlag) -> Any:
        if self.is_list and given.values:
            return tuple(self._one(value, given.typed) for value in given.values)
        if self.kind is bool and not given.values:
            return True
        if len(given.values) != 1:
            if not given.values:
                raise FlagError("needs a value", where=given.typed, hint=self.help)
            raise FlagError(
                f"takes one value; got {len(given.values)}: {' | '.join(given.values)}",
                where=given.typed,
                hint="put quotes round a value with spaces",
            )
        return self._one(given.values[0], given.typed)

    def _one(self, text: str, typed: str) -> Any:
        is_free_text = self.kind is str and not self.choices
        if self.is_optional and text in ("None", "null") and not is_free_text:
            return None
        if self.kind is bool:
            return self._bool(text, typed)
        if self.choices and text not in self.choices:
            raise FlagError(
                f"{text!r} is not one of {', '.join(self.choices)}", where=typed, hint=self.help
            )
        try:
            return self.kind(text)
        except ValueError as error:
            number = "a whole number" if self.kind is int else "a number"
            raise FlagError(f"{text!r} is not {number}", where=typed) from error

    def _bool(self, text: str, typed: str) -> bool:
        if text.lower() in TRUE:
            return True
        if text.lower() in FALSE:
            return False
        raise FlagError(f"{text!r} is neither true nor false", where=typed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed(Generic[Verb]):
    """Options of a verb, and what the user should know about the flags that led there."""

    options: Verb
    notices: tuple[str, ...]


def flags_of(group: type[Options]) -> list[Flag]:
    hints = get_type_hints(group)
    return [_flag(spec, hints[spec.name]) for spec in fields(group)]


def _flag(spec: Field[Any], hint: Any) -> Flag:
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    is_optional = type(None) in parts
    core = next(part for part in parts if part is not type(None))
    is_list = get_origin(core) is tuple
    if is_list:
        core = get_args(core)[0]
    is_literal = get_origin(core) is Literal
    return Flag(
        name=spec.name,
        kind=str if is_literal else core,
        is_list=is_list,
        is_optional=is_optional,
        choices=get_args(core) if is_literal else (),
        default=None if spec.default is MISSING else spec.default,
        help=option_info(spec).help,
    )


def parse_flags(verb: type[Verb], argv: Sequence[str]) -> Parsed[Verb]:
    """A verb's options from its words; a config file first, what is typed wins over it."""
    config, words = _take_config(clean(argv))
    return _parse(verb, [*config_flags(config), *split_flags(words)])


def parse_stages(verb: type[Verb], argv: Sequence[str]) -> list[Parsed[Verb]]:
    """One a stage of the config file; where it has none, the one of ``parse_flags``."""
    config, words = _take_config(clean(argv))
    return [
        _parse(verb, [*config_flags(stage), *split_flags(words)]) for stage in split_stages(config)
    ]


def _parse(verb: type[Verb], given_flags: Sequence[GivenFlag]) -> Parsed[Verb]:
    flags = {flag.name: flag for flags in _grouped(verb).values() for flag in flags}
    elsewhere = _flags_elsewhere(verb)
    values: dict[str, Any] = {}
    notices: list[str] = []
    typed: dict[str, GivenFlag] = {}
    for given in given_flags:
        resolved, notice = resolve(given, flags, elsewhere)
        if notice:
            notices.append(notice)
        if resolved is None:
            continue
        values[resolved.name] = flags[resolved.name].parse(resolved)
        if given.is_from_config:
            continue
        if resolved.name in typed:
            notices.append(_said_twice(typed[resolved.name], resolved))
        typed[resolved.name] = resolved
    if "system" in values:
        # As text from here on: a checkpoint must remember the line, not the path of a file.
        values["system"] = system_line(values["system"])
    if "resume_from_checkpoint" in values and "stage" not in values:
        values = resumed(values)
    return Parsed(options=verb.from_values(values), notices=tuple(dict.fromkeys(notices)))


def _grouped(verb: type[VerbOptions]) -> dict[type[Options], list[Flag]]:
    """The flags of a verb, by option group."""
    return {group: flags_of(group) for group in verb.groups().values()}


def _flags_elsewhere(verb: type[VerbOptions]) -> dict[str, str]:
    """Every other verb's option -> the verb."""
    return {
        flag.name: name
        for name, other in VERBS_WITH_FLAGS.items()
        if other is not verb
        for flags in _grouped(other).values()
        for flag in flags
    }


def _said_twice(first: GivenFlag, last: GivenFlag) -> str:
    """As in ms-swift the last one counts, also of a list."""
    dropped = " ".join((first.typed, *first.values))
    return f"{last.typed} is given twice: the last one counts, not {dropped}"


def _take_config(words: list[str]) -> tuple[Config, list[str]]:
    """A config file given first, or with ``--config``."""
    at = next((i for i, word in enumerate(words) if word.partition("=")[0] == "--config"), None)
    if words and not words[0].startswith("--") and words[0].endswith(CONFIG_KINDS):
        name, rest = words[0], words[1:]
    elif at is None:
        return Config(), words
    elif "=" in words[at]:
        name, rest = words[at].partition("=")[2], words[:at] + words[at + 1 :]
    elif at + 1 == len(words):
        raise FlagError("needs a file", where="--config")
    else:
        name, rest = words[at + 1], words[:at] + words[at + 2 :]
    return read_config(Path(name).expanduser()), rest


def help_text(name: str, summary: str, verb: type[VerbOptions]) -> str:
    """The help of one verb, made from its fields."""
    lines = [f"selfhood {name}: {summary}", "", f"usage: selfhood {name} [config.yaml] [flags]"]
    for group, flags in _grouped(verb).items():
        lines += ["", (group.__doc__ or "").splitlines()[0]]
        lines += [_help_line(flag) for flag in flags]
    lines += ["", "Names from ms-swift 2.x, 3.x and 4.x are understood too."]
    return "\n".join(lines)


def _help_line(flag: Flag) -> str:
    choices = f" {{{', '.join(flag.choices)}}}" if flag.choices else ""
    default = _shown(flag.default)
    ending = f" [{default}]" if default else ""
    return f"  --{flag.name:<30} {flag.help}{choices}{ending}"


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)
