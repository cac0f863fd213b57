"""DatasetSpec: ``[HF::|MS::]id_or_path[:subset][#N]``, parsed and printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from selfhood.errors import FlagError


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """One value of ``--dataset``. ``num_rows`` None takes every row once."""

    id: str
    hub: Literal["HF", "MS"] | None = None
    subset: str | None = None
    num_rows: int | None = None

    @classmethod
    def parse(cls, text: str, exists: Callable[[str], bool]) -> DatasetSpec:
        """Read one value. ``exists`` says whether a path is there: a file called ``a#1.json``
        is a file before it is a dataset ``a`` with a row count."""
        text = text.strip()
        hub, text = _split_hub(text)
        if exists(text):
            return cls(id=text, hub=hub)
        text, num_rows = _split_num_rows(text)
        if exists(text):
            return cls(id=text, hub=hub, num_rows=num_rows)
        name, colon, subset = text.rpartition(":")
        if not colon or not name or subset.startswith(("/", "\\")):  # C:\\data is a path
            return cls(id=text, hub=hub, num_rows=num_rows)
        return cls(id=name, hub=hub, subset=subset or None, num_rows=num_rows)

    def __str__(self) -> str:
        hub = f"{self.hub}::" if self.hub else ""
        subset = f":{self.subset}" if self.subset else ""
        rows = f"#{self.num_rows}" if self.num_rows is not None else ""
        return f"{hub}{self.id}{subset}{rows}"


def _split_hub(text: str) -> tuple[Literal["HF", "MS"] | None, str]:
    prefix, mark, rest = text.partition("::")
    if mark and prefix.upper() == "HF":
        return "HF", rest
    if mark and prefix.upper() == "MS":
        return "MS", rest
    return None, text


def _split_num_rows(text: str) -> tuple[str, int | None]:
    name, mark, count = text.rpartition("#")
    if not mark:
        return text, None
    if not count.isdecimal() or int(count) == 0:
        raise FlagError(
            f"{text!r}: after # comes the number of rows",
            where="--dataset",
            hint="write a whole number above 0, as in identity#500",
        )
    return name, int(count)
