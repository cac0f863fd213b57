"""``--require name_recall>=0.98``: what a scorecard must reach."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from selfhood.errors import FlagError
from selfhood.evaluate.types import Scorecard

FLAG = "--require"
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([0-9.]+(?:e-?\d+)?)\s*(%?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    measure: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.measure}{self.comparison}{self.bound:g}"

    @classmethod
    def parse(cls, text: str) -> Requirement:
        match = _FORM.fullmatch(text)
        if match is None:
            raise FlagError(
                f"{text!r} says no bound",
                where=FLAG,
                hint="write '>' in quotes: 'name_recall>=0.98'",
            )
        name, comparison, number, per_cent = match.groups()
        try:
            bound = float(number) / (100 if per_cent else 1)
        except ValueError as error:
            raise FlagError(f"{number!r} is not a number", where=FLAG) from error
        return cls(measure=name, comparison=comparison, bound=bound)

    def check(self, known: Collection[str]) -> None:
        """Raise where nothing of that name is measured."""
        if self.measure in known:
            return
        near = get_close_matches(self.measure, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise FlagError(f"{self.measure!r} is not measured", where=FLAG, hint=hint)

    def is_met(self, scorecard: Scorecard) -> bool:
        """A measure for which nothing was asked is not reached."""
        values = [each.value for each in scorecard.measures if each.name == self.measure]
        return bool(values) and COMPARISONS[self.comparison](values[0], self.bound)
