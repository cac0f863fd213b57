"""Rows where a run has them: in a file."""

from __future__ import annotations

from collections.abc import Iterable

from selfhood.chat import Conversation, Message
from selfhood.data.row_store import RowWriter, StoredRows, temporary_file


def stored(rows: Iterable[Conversation]) -> StoredRows:
    with temporary_file() as file:
        writer = RowWriter(file)
        for row in rows:
            writer.append(row)
        return writer.rows()


def numbered(count: int) -> list[Conversation]:
    """Rows 0, 1, 2 ...: the longer, the higher their number."""
    return [
        Conversation(
            messages=(Message("user", f"{n}?"), Message("assistant", "n" * n)), origin=f"a:{n}"
        )
        for n in range(count)
    ]
