"""What an option is, a group of them, and all those of a verb."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, Self, get_type_hints

from selfhood.errors import FlagError


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionInfo:
    """What a field says about itself beyond its type and default."""

    help: str
    minimum: float | None = None
    maximum: float | None = None


def option(
    default: Any, help: str, *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field that is also a flag."""
    info = OptionInfo(help=help, minimum=minimum, maximum=maximum)
    return field(default=default, metadata={"option": info})


def option_info(spec: Field[Any]) -> OptionInfo:
    info: OptionInfo = spec.metadata["option"]
    return info


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Base of the option groups: range checks from the fields' own words."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check_range(spec.name, getattr(self, spec.name), option_info(spec))


def _check_range(name: str, value: object, info: OptionInfo) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise FlagError(f"{value} is not a finite number", where=f"--{name}")
    if info.minimum is not None and value < info.minimum:
        raise FlagError(f"{value:g} is below the minimum, {info.minimum:g}", where=f"--{name}")
    if info.maximum is not None and value > info.maximum:
        raise FlagError(f"{value:g} is above the maximum, {info.maximum:g}", where=f"--{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbOptions:
    """All options of one verb: a few groups, flat on the command line and in ``args.json``.

    ``given`` are the names that somebody gave a value, were it the default.
    """

    given: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def groups(cls) -> dict[str, type[Options]]:
        hints = get_type_hints(cls)
        return {name: kind for name, kind in hints.items() if name != "given"}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From flag names and values, also as JSON knows them; names that are not this verb's are
        left alone."""
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        groups = {}
        for name, kind in cls.groups().items():
            known = {spec.name for spec in fields(kind)}
            groups[name] = kind(**{key: value for key, value in values.items() if key in known})
        return cls(**groups, given=frozenset(values))

    def to_json(self) -> dict[str, Any]:
        """Flat, by flag name."""
        return {
            name: value
            for group in self.groups()
            for name, value in asdict(getattr(self, group)).items()
        }
