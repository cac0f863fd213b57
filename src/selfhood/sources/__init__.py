"""The doors data comes in by: one module a source.

A source has ``claims(spec)`` and ``read(spec, settings)``. ``read`` yields a Conversation for a
good row and a DataError for a bad one: whether a bad row stops the run is decided by ``gather``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from selfhood.chat import Conversation
from selfhood.data.columns import Row, to_conversation
from selfhood.data.spec import DatasetSpec
from selfhood.errors import DataError
from selfhood.hub import Hub
from selfhood.persona import Persona


class RowReader(Protocol):
    """A row as it stands -> Conversation: ``to_conversation`` or ``to_question``."""

    def __call__(self, row: Row, *, origin: str, rename: Mapping[str, str]) -> Conversation: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What a source may need to know of the run."""

    hub: Hub
    persona: Persona | None
    seed: int
    rename: Mapping[str, str] = field(default_factory=dict)
    read_row: RowReader = to_conversation


class Source(Protocol):
    """A module that meets this is a source; ``gather`` asks them in order."""

    def claims(self, spec: DatasetSpec) -> bool: ...

    def read(
        self, spec: DatasetSpec, settings: SourceSettings
    ) -> Iterator[Conversation | DataError]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All good rows of one dataset, and the bad ones that ``--strict false`` let pass."""

    spec: DatasetSpec
    rows: tuple[Conversation, ...]
    skipped: tuple[DataError, ...]


def gather(spec: DatasetSpec, settings: SourceSettings, *, strict: bool) -> Gathered:
    """Read a dataset whole. Strict: the first bad row is raised."""
    rows: list[Conversation] = []
    skipped: list[DataError] = []
    for row in _source_of(spec).read(spec, settings):
        if isinstance(row, Conversation):
            rows.append(row)
        elif strict:
            raise row
        else:
            skipped.append(row)
    if not rows:
        raise DataError("no usable rows", where=str(spec), hint=_why_empty(skipped))
    return Gathered(spec=spec, rows=tuple(rows), skipped=tuple(skipped))


def _source_of(spec: DatasetSpec) -> Source:
    from selfhood.sources import files, hub, identity

    sources: tuple[Source, ...] = (identity, files, hub)
    return next(source for source in sources if source.claims(spec))


def _why_empty(skipped: list[DataError]) -> str:
    return f"the first bad one: {skipped[0]}" if skipped else "the file holds no rows"
