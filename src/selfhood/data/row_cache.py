"""The rows of large files, kept under the cache folder: the next run need not read them again.

    $SELFHOOD_CACHE/rows/<name>-<fingerprint>/    as row_store writes it

The fingerprint is of the files as the disk knows them (path, size, times, inode) and of everything
that decides how their rows are read. A file that changed has another fingerprint. The folders used
last stay, up to ``MOST_BYTES``; deleting any of them is always safe.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from selfhood.console import say
from selfhood.data.row_store import FORMAT_VERSION, ROWS, StoredRows, open_rows
from selfhood.errors import InputError
from selfhood.files import hash_text, locked, new_folder, remove_leftovers
from selfhood.starter import cache_folder

LARGE_BYTES = 32 << 20
"""Below it, reading again takes a second or two."""
MOST_BYTES = 20 << 30


def is_large(files: Sequence[Path]) -> bool:
    return sum(path.stat().st_size for path in files) >= LARGE_BYTES


def cached_rows(
    files: Sequence[Path], manner: Sequence[str], write: Callable[[BinaryIO], StoredRows]
) -> StoredRows:
    """The rows of ``files``: kept ones, or those that ``write`` now writes to a file.

    ``manner`` is all but the files that decides what the rows are. Two processes may call it at
    once: one reads, the other waits.
    """
    fingerprint = _fingerprint(files, manner)
    folder = cache_folder(os.environ) / "rows" / f"{files[0].stem}-{fingerprint[:16]}"
    rows = open_rows(folder)
    if rows is None:
        with locked(folder, lambda: say(f"waiting for another process that reads {files[0]}")):
            rows = open_rows(folder) or _keep(folder, files, write)
        _make_room(folder.parent, spare=folder)
    with contextlib.suppress(OSError):  # a cache that can only be read is as good
        os.utime(folder)
    return rows


def _keep(
    folder: Path, files: Sequence[Path], write: Callable[[BinaryIO], StoredRows]
) -> StoredRows:
    remove_leftovers(folder)
    say(f"reading  {files[0]}; the next run finds its rows in {folder.parent}")
    before = [*map(_state, files)]
    with new_folder(folder) as beside, (beside / ROWS).open("w+b") as file:
        rows = write(file)
        rows.save_index(beside)
        if [*map(_state, files)] != before:
            raise InputError("changed while it was read", where=str(files[0]))
    return rows


def _fingerprint(files: Sequence[Path], manner: Sequence[str]) -> str:
    return hash_text(str(FORMAT_VERSION), *manner, *map(_state, files))


def _state(path: Path) -> str:
    """What changes with every change of a file; a copied file's times can be old, its ctime not."""
    stat = path.stat()
    parts = (path.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return "|".join(map(str, parts))


def _make_room(cache: Path, *, spare: Path) -> None:
    """Delete what was not used for longest, until the rest is within ``MOST_BYTES``."""
    folders = [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(".")]
    total = 0
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
        total += sum(path.stat().st_size for path in folder.iterdir())
        if total > MOST_BYTES and folder != spare:
            shutil.rmtree(folder, ignore_errors=True)
