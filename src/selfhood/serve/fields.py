"""Bytes from a stranger -> the members of a JSON object, each of the type and size it must have."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from selfhood.serve.refusal import Refusal, invalid

DEEPEST = 64


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object of finite numbers, whole characters and bounded depth."""
    try:
        table = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise invalid("The body is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise invalid("The body could not be parsed as JSON.") from error
    if not isinstance(table, dict):
        raise invalid("The body must be a JSON object.")
    _check_depth_and_text(table)
    return table


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _check_depth_and_text(table: object) -> None:
    """Level by level, since what is nested too deep would end a recursion too."""
    level: list[object] = [table]
    for _ in range(DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise invalid(f"The body is nested deeper than {DEEPEST} levels.")


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value
        yield from value.values()


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # "\ud800" is JSON, but no character
        raise invalid("The body holds half of a surrogate pair.") from error


class Fields:
    """The members of an object, taken one after the other; null is as good as absent.

    ``where`` is the object's own place in the request, such as ``messages.0``.
    """

    def __init__(self, table: Mapping[str, Any], where: str = "") -> None:
        self._left = {name: value for name, value in table.items() if value is not None}
        self._where = where

    def place(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def take(self, name: str) -> Any:
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def needed_text(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise invalid(f"'{self.place(name)}' is missing.", self.place(name))
        return value

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def whole(self, name: str, *, low: int, high: int) -> int | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._wrong(name, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, *, low: float, high: float) -> float | None:
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, "a number")
        if not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def items(self, name: str, *, most: int) -> list[Any]:
        value = self.take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "an array")
        if len(value) > most:
            raise self._wrong(name, f"an array of at most {most}")
        return value

    def tables(self, name: str, *, most: int) -> list[Fields]:
        return [
            fields_of(item, f"{self.place(name)}.{number}")
            for number, item in enumerate(self.items(name, most=most))
        ]

    def table(self, name: str) -> Fields:
        value = self.take(name)
        return fields_of({} if value is None else value, self.place(name))

    def end(self, harmless: Mapping[str, Collection[Any] | None]) -> None:
        """Raise for whatever is left, unless it changes nothing: any value where ``harmless`` has
        None, else one of the values there."""
        for name, value in self._left.items():
            if name not in harmless:
                what = f"Unrecognized request argument supplied: {self.place(name)}"
                raise Refusal(400, what, param=self.place(name), code="unknown_parameter")
            values = harmless[name]
            if values is not None and value not in values:
                raise Refusal(
                    400,
                    f"'{self.place(name)}' is not supported with this value.",
                    param=self.place(name),
                    code="unsupported_value",
                )

    def _wrong(self, name: str, expected: str) -> Refusal:
        place = self.place(name)
        return invalid(f"Invalid '{place}': expected {expected}.", place)


def fields_of(value: object, where: str) -> Fields:
    if not isinstance(value, dict):
        raise invalid(f"Invalid '{where}': expected an object.", where)
    return Fields(value, where)
