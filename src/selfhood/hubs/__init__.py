"""Model and dataset repositories through the hubs' official clients, one file a hub.

A client answers two questions about a repository: is it on this disk, complete; and if not, fetch
it. What may go wrong is told by one of three exceptions, which hub.py words for the user. Only data
is fetched: neither pickles nor code.
"""

from __future__ import annotations

import fnmatch
import io
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from selfhood import files
from selfhood.starter import OnProgress

MODEL_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.md"]
# Weights below the top folder are copies in other formats; no loader looks there.
UNWANTED = ["*.py", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5"]
UNWANTED_IN_MODELS = [*UNWANTED, "*/*.safetensors"]


class Kind(StrEnum):
    MODEL = "model"
    DATASET = "dataset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """One repository of a hub; ``revision`` None is the hub's default branch."""

    kind: Kind
    id: str
    revision: str | None = None


class RepoAbsent(Exception):
    """The hub has no such repository or revision, or hides it."""


class AccessRefused(Exception):
    """The hub has it, but not for this token."""


class DownloadFailed(Exception):
    """Anything else; the message is for the user and holds no token."""


class Client(Protocol):
    """One hub."""

    title: str
    token_variable: str

    def endpoint(self) -> str: ...

    def is_switched_off(self) -> bool:
        """The user's environment forbids to ask this hub."""

    def cached(self, repo: Repo) -> Path | None:
        """The folder on this disk, if nothing is missing in it; asks no network."""

    def download(self, repo: Repo, on_progress: OnProgress) -> Path: ...


def has_all_weights(folder: Path) -> bool:
    """Every safetensors file that a loader would open is there."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = set(files.read_json(index)["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return any(folder.glob("*.safetensors"))


def is_wanted(path: str, kind: Kind) -> bool:
    if kind is Kind.DATASET:
        return not _matches(path, UNWANTED)
    return _matches(path, MODEL_FILES) and not _matches(path, UNWANTED_IN_MODELS)


def _matches(path: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def reason_of(error: BaseException, status: int | None) -> str:
    """Short, and without the client's text: that may hold a signed address."""
    if status is not None:
        return f"it answered {status}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def silent_bar_class() -> Any:
    """A tqdm bar that counts and draws nothing: two libraries' bars on one line help nobody."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Silent(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": io.StringIO()})

    return Silent
