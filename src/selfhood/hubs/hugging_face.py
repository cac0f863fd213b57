"""Hugging Face through ``huggingface_hub``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from selfhood.hubs import (
    MODEL_FILES,
    UNWANTED,
    UNWANTED_IN_MODELS,
    AccessRefused,
    DownloadFailed,
    Kind,
    Repo,
    RepoAbsent,
    has_all_weights,
    reason_of,
    silent_bar_class,
)
from selfhood.starter import OnProgress


class HuggingFace:
    title = "Hugging Face"
    token_variable = "HF_TOKEN"

    def endpoint(self) -> str:
        return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"

    def is_switched_off(self) -> bool:
        return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")

    def cached(self, repo: Repo) -> Path | None:
        stored = self._cache() / f"{repo.kind}s--{repo.id.replace('/', '--')}"
        if not stored.is_dir():
            return None
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            # The client remembers the list of files and refuses a folder that lacks one of them.
            path = snapshot_download(**self._arguments(repo), local_files_only=True)
        except LocalEntryNotFoundError:
            return None
        folder = Path(path)
        return folder if repo.kind is Kind.DATASET or has_all_weights(folder) else None

    def download(self, repo: Repo, on_progress: OnProgress) -> Path:
        import httpx2
        from huggingface_hub import errors, snapshot_download

        try:
            return Path(
                snapshot_download(**self._arguments(repo), tqdm_class=_bar_class(on_progress))
            )
        except errors.GatedRepoError as error:
            raise AccessRefused from error
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            raise RepoAbsent from error
        except (errors.HFValidationError, httpx2.HTTPError, OSError) as error:
            status = _status_of(error)
            if status in (401, 403):
                raise AccessRefused from error
            raise DownloadFailed(reason_of(error, status)) from error

    def _arguments(self, repo: Repo) -> dict[str, Any]:
        return {
            "repo_id": repo.id,
            "repo_type": str(repo.kind),
            "revision": repo.revision,
            "cache_dir": self._cache(),
            "endpoint": self.endpoint(),
            "allow_patterns": MODEL_FILES if repo.kind is Kind.MODEL else None,
            "ignore_patterns": UNWANTED_IN_MODELS if repo.kind is Kind.MODEL else UNWANTED,
        }

    def _cache(self) -> Path:
        """The client's own folder, read now: the client reads its variables only when imported."""
        if cache := os.environ.get("HF_HUB_CACHE"):
            return Path(cache).expanduser()
        if home := os.environ.get("HF_HOME"):
            return Path(home).expanduser() / "hub"
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser() / "huggingface" / "hub"


def _status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an error, or an error behind it, was made from."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def _bar_class(on_progress: OnProgress) -> type[Any]:
    """For the Hugging Face client: a bar that draws nothing and passes bytes on."""

    class Relay(silent_bar_class()):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            # Of its bars this one counts bytes on disk; the others count files and bytes sent.
            if str(self.desc).startswith("Reconstructing"):
                on_progress("downloading", int(self.n), int(self.total or 0))
            return drawn

    return Relay
