"""Files that appear whole or not at all, and lines that know their number."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfhood.errors import InputError, MissingError, SelfhoodError

_REPLACED = re.compile(r"\.(.+)\.\d+\.old\.tmp")


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside, flush to disk, rename: a reader sees the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError("no such file", where=str(path)) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot be read as JSON: {error}", where=str(path)) from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears at ``path`` only when the block has ended well.

    The block fills a temporary sibling; its files are flushed to disk before the rename, so a
    crash leaves the old state or the new one, and in the instant between two renames both of them
    under temporary names.
    """
    path = path.absolute()
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        _sync_tree(beside)
        if path.exists():
            path.rename(old)
        beside.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Clear away what a process that was killed left half-written in ``folder``, and give back a
    folder that it was about to replace. For folders that one process at a time writes into."""
    leftovers = sorted(folder.glob(".*.tmp")) if folder.is_dir() else []
    for leftover in leftovers:
        match = _REPLACED.fullmatch(leftover.name)
        if match and not (folder / match[1]).exists():
            leftover.rename(folder / match[1])
        elif leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Only one process at a time makes ``path``; the system lets go of the lock of one that died.

    ``on_wait`` is called where another process has the lock.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            on_wait()
            lock.acquire()
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(path: Path) -> None:
    """Temporary siblings of ``path``: who holds its lock knows that whoever made them is dead."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)


def cannot_write(path: Path, error: OSError) -> SelfhoodError:
    return SelfhoodError(
        f"cannot be written: {error.strerror or error}",
        where=str(path),
        hint="check the free space and the permissions",
    )


def hash_file(path: Path) -> str:
    """SHA-256 of the content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_text(*parts: str) -> str:
    """SHA-256 of texts, each kept apart from its neighbours."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(str(len(part)).encode() + b":" + part.encode())
    return digest.hexdigest()
