"""``--system``: typed, or kept in a file."""

from __future__ import annotations

from pathlib import Path

from selfhood.errors import InputError, MissingError


def system_line(text: str | None) -> str | None:
    """``--system``: a text (``\\n`` means a line break) or a .txt file."""
    if text is None or not text.endswith(".txt"):
        return text.replace("\\n", "\n") if text else text
    path = Path(text).expanduser()
    if not path.is_file():
        raise MissingError("no such file", where=f"--system {text}")
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8", where=f"--system {text}") from error
