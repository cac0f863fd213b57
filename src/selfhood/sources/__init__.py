"""The doors data comes in by: one module a source.

A source has ``claims(spec)``, ``files(spec, settings)`` and ``read(spec, settings)``. ``read``
yields a Conversation for a good row and a DataError for a bad one: whether a bad row stops the run
is decided by ``gather``. Rows go to a file at once: a dataset may be larger than the memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from selfhood.chat import Conversation
from selfhood.data.columns import Row, to_conversation
from selfhood.data.row_cache import cached_rows, is_large
from selfhood.data.row_store import RowWriter, StoredRows, temporary_file
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

    def files(self, spec: DatasetSpec, settings: SourceSettings) -> Sequence[Path]:
        """What ``read`` reads."""
        ...

    def read(
        self, spec: DatasetSpec, settings: SourceSettings
    ) -> Iterator[Conversation | DataError]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All good rows of one dataset."""

    spec: DatasetSpec
    rows: StoredRows


def gather(spec: DatasetSpec, settings: SourceSettings, *, strict: bool) -> Gathered:
    """Read a dataset whole, or find its rows in the cache. Strict: the first bad row is raised."""
    source = _source_of(spec)
    files = source.files(spec, settings)
    write = partial(_write, spec, source.read(spec, settings), strict=strict)
    if is_large(files):
        rows = cached_rows(files, [*_identity(spec, settings), str(strict)], write)
    else:
        with temporary_file() as file:
            rows = write(file)
    return Gathered(spec=spec, rows=rows)


def _write(
    spec: DatasetSpec, rows: Iterable[Conversation | DataError], file: BinaryIO, *, strict: bool
) -> StoredRows:
    writer = RowWriter(file)
    first_bad: DataError | None = None
    for row in rows:
        if isinstance(row, Conversation):
            writer.append(row)
        elif strict:
            raise row
        else:
            writer.skip()
            first_bad = first_bad or row
    stored = writer.rows()
    if not stored:
        raise DataError("no usable rows", where=str(spec), hint=_why_empty(first_bad))
    return stored


def _identity(spec: DatasetSpec, settings: SourceSettings) -> list[str]:
    """All but the files that decides how a dataset's rows look."""
    reader = getattr(settings.read_row, "__name__", "")
    return [spec.id, str(spec.subset), reader, json.dumps(settings.rename, sort_keys=True)]


def _source_of(spec: DatasetSpec) -> Source:
    from selfhood.sources import files, hub, identity

    sources: tuple[Source, ...] = (identity, files, hub)
    return next(source for source in sources if source.claims(spec))


def _why_empty(first_bad: DataError | None) -> str:
    return f"the first bad one: {first_bad}" if first_bad else "the file holds no rows"
