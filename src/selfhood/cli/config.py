"""Config files: keys are flag names; several stages in one file share what stands beside them.

model: Qwen/Qwen2.5-7B-Instruct
stages:
  - dataset: [AI-ModelScope/alpaca-gpt4-data-zh#1000]
    num_train_epochs: 1
  - dataset: identity#500
    max_steps: 50
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfhood.cli.argv import GivenFlag
from selfhood.errors import FlagError, InputError, MissingError

CONFIG_KINDS = (".yaml", ".yml", ".json", ".toml")
STAGES, STAGE = "stages", "stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a config file says; ``name`` is what messages call it."""

    name: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: Path) -> Config:
    """A config file. ``ENV:`` sets environment variables that are not set."""
    if not path.is_file():
        raise MissingError("no such config file", where=str(path))
    values = _parse(path)
    if not isinstance(values, dict):
        raise FlagError("holds no keys and values", where=str(path))
    environment = values.pop("ENV", None) or {}
    if not isinstance(environment, dict):
        raise FlagError("holds no names and values", where=f"{path}: ENV")
    for name, value in environment.items():
        os.environ.setdefault(str(name), str(value))
    return Config(name=str(path), values=values)


def split_stages(config: Config) -> list[Config]:
    """A config for each stage: what is common, the stage's own over it, and its number."""
    stages = config.values.get(STAGES)
    if stages is None:
        return [config]
    name = f"{config.name}: {STAGES}"
    if not isinstance(stages, Sequence) or not all(isinstance(each, Mapping) for each in stages):
        raise FlagError("is not a list of flags and values", where=name)
    if not stages:
        raise FlagError("is empty", where=name)
    common = {key: value for key, value in config.values.items() if key != STAGES}
    return [
        Config(name=f"{name} {number}", values={**common, **stage, STAGE: number})
        for number, stage in enumerate(stages, start=1)
    ]


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8", where=str(path)) from error
    try:
        if path.suffix == ".toml":
            import tomllib

            return tomllib.loads(text)
        if path.suffix == ".json":
            return json.loads(text)
        import yaml

        return yaml.safe_load(text)
    except ValueError as error:  # TOML and JSON
        raise FlagError(str(error), where=str(path)) from error
    except Exception as error:  # yaml.YAMLError, which cannot be named before its import
        if type(error).__module__.startswith("yaml"):
            raise FlagError(" ".join(str(error).split()), where=str(path)) from error
        raise


def config_flags(config: Config) -> list[GivenFlag]:
    """Config keys and values in the form of flags; what is null or an empty list says nothing."""
    flags: list[GivenFlag] = []
    for name, value in config.values.items():
        if value is None or value == []:
            continue
        items = value if isinstance(value, list) else [value]
        typed = f"{config.name}: {name}"
        if any(isinstance(item, list) for item in items):
            raise FlagError("is a list of lists", where=typed, hint="make it one list")
        words = tuple(_word(item) for item in items)
        flags.append(GivenFlag(typed=typed, name=str(name), values=words))
    return flags


def _word(item: object) -> str:
    if isinstance(item, (bool, Mapping)):
        return json.dumps(item, ensure_ascii=False)
    return str(item)
