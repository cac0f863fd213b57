"""A batch of answers that may be cut at any time, and goes on where it was cut.

answers.jsonl               one line an answer; lines of earlier runs may stand before them
.answers.jsonl.unfinished   where this run's lines begin, and what it asks; gone when all is done
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TextIO

from selfhood.chat import Conversation
from selfhood.engine.types import Sampling
from selfhood.errors import SelfhoodError
from selfhood.files import hash_text, read_json, write_json
from selfhood.opening import Opening
from selfhood.run import ADAPTER


@dataclass(frozen=True, slots=True)
class Unfinished:
    """``start`` is the byte at which this run's answers begin, ``num_done`` how many there are."""

    path: Path
    start: int
    num_done: int

    @classmethod
    def of(cls, path: Path, asks: str) -> Self:
        """The run that was cut while it asked the same, or a new one."""
        note = _note(path)
        start = _start(note, asks)
        if start is None or not path.exists() or path.stat().st_size < start:
            start = path.stat().st_size if path.exists() else 0
            write_json(note, {"start": start, "asks": asks})
            return cls(path, start, 0)
        return cls(path, start, _drop_half_a_line(path, start))

    def file(self) -> AbstractContextManager[TextIO]:
        return self.path.open("a", encoding="utf-8")

    def finish(self) -> None:
        _note(self.path).unlink(missing_ok=True)


def fingerprint(rows: Sequence[Conversation], sampling: Sampling, opening: Opening) -> str:
    """Of everything that an answer depends on."""
    return hash_text(
        *(f"{message.role}:{message.content}" for row in rows for message in row.messages),
        json.dumps(asdict(sampling), sort_keys=True),
        str(opening.model_path.resolve()),
        str(opening.system),
        *(_state(checkpoint.path / ADAPTER) for checkpoint in opening.checkpoints),
    )


def _state(file: Path) -> str:
    """A file, as long as nobody writes it anew."""
    stamp = file.stat() if file.exists() else None
    return f"{file.resolve()} {stamp.st_size} {stamp.st_mtime_ns}" if stamp else str(file)


def _note(path: Path) -> Path:
    return path.with_name(f".{path.name}.unfinished")


def _start(note: Path, asks: str) -> int | None:
    try:
        record = read_json(note)
        return int(record["start"]) if record["asks"] == asks else None
    except (SelfhoodError, OSError, ValueError, KeyError, TypeError):
        return None


def _drop_half_a_line(path: Path, start: int) -> int:
    """How many whole lines stand from ``start`` on; what a kill has cut is taken away."""
    with path.open("r+b") as file:
        file.seek(start)
        num_lines, end = 0, start
        for line in file:
            if not line.endswith(b"\n"):
                break
            num_lines, end = num_lines + 1, end + len(line)
        file.truncate(end)
    return num_lines
