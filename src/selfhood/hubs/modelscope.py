"""ModelScope through ``modelscope_hub``."""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfhood import files
from selfhood.hubs import (
    AccessRefused,
    DownloadFailed,
    Kind,
    Repo,
    RepoAbsent,
    has_all_weights,
    is_wanted,
    reason_of,
    silent_bar_class,
)
from selfhood.starter import OnProgress, cache_folder


class ModelScope:
    title = "ModelScope"
    token_variable = "MODELSCOPE_API_TOKEN"

    def endpoint(self) -> str:
        chosen = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN", "")
        address = chosen.strip().rstrip("/") or "modelscope.cn"
        return address if "://" in address else f"https://{address}"

    def is_switched_off(self) -> bool:
        return False

    def cached(self, repo: Repo) -> Path | None:
        """What we fetched to the end ourselves, or a model of another tool that has all weights."""
        if receipt := self._receipt(repo):
            return receipt
        if repo.kind is Kind.DATASET or not self._has_any(repo):
            return None
        from modelscope_hub import errors

        try:
            found: Path = self._api().download_repo(
                repo.id, str(repo.kind), revision=repo.revision, local_files_only=True
            )
        except errors.CacheError:
            return None
        is_whole = (found / "config.json").is_file() and has_all_weights(found)
        return found if is_whole else None

    def download(self, repo: Repo, on_progress: OnProgress) -> Path:
        import requests
        from modelscope_hub import errors

        try:
            with _quiet_modelscope():
                return self._download(repo, on_progress)
        except (errors.HubError, requests.RequestException, OSError) as error:
            raise _translated(error) from error

    def _download(self, repo: Repo, on_progress: OnProgress) -> Path:
        api = self._api()
        listed = api.list_repo_files(repo.id, str(repo.kind), revision=repo.revision)
        wanted = [file for file in listed if not file.is_dir and is_wanted(file.path, repo.kind)]
        entries = [{"Path": f.path, "Size": f.size, "Sha256": f.sha256} for f in wanted]
        progress = _progress_class(on_progress, sum(file.size for file in wanted))
        folder: Path = api.download_repo(
            repo.id,
            str(repo.kind),
            revision=repo.revision,
            file_list=entries,
            progress_callbacks=[progress],
        )
        self._write_receipt(repo, folder, [file.path for file in wanted])
        return folder

    def _write_receipt(self, repo: Repo, folder: Path, names: list[str]) -> None:
        """The client keeps no record of what belongs to a repository: to it, a folder that lacks
        half of its files looks like any other."""
        files.write_json(self._receipt_path(repo), {"folder": str(folder), "files": names})

    def _receipt(self, repo: Repo) -> Path | None:
        """The folder that an earlier download filled, if it still has all its files."""
        path = self._receipt_path(repo)
        if not path.is_file():
            return None
        receipt = files.read_json(path)
        folder = Path(receipt["folder"])
        is_whole = all((folder / name).is_file() for name in receipt["files"])
        return folder if is_whole else None

    def _receipt_path(self, repo: Repo) -> Path:
        name = f"{repo.id.replace('/', '--')}@{(repo.revision or 'master').replace('/', '--')}"
        return cache_folder(os.environ) / "modelscope" / f"{repo.kind}s" / f"{name}.json"

    def _api(self) -> Any:
        from modelscope_hub import HubApi, HubConfig

        # A configuration of its own: the default one keeps the environment of its first use.
        return HubApi(HubConfig(endpoint=self.endpoint()))

    def _has_any(self, repo: Repo) -> bool:
        """A look at the disk before the client is imported: a quarter of a second saved."""
        base = Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser()
        owner, name = repo.id.split("/")
        old = Path(f"{repo.kind}s") / owner / name.replace(".", "___")
        places = (base / f"{repo.kind}s" / f"{owner}--{name}", base / old, base / "hub" / old)
        return any(place.is_dir() for place in places)


def _translated(error: BaseException) -> Exception:
    """Of many files that failed, the first tells why."""
    from modelscope_hub import errors

    if isinstance(error, errors.FileDownloadError) and error.failed_files:
        error = next(iter(error.failed_files.values()))
    if isinstance(error, errors.NotExistError):
        return RepoAbsent()
    if isinstance(error, (errors.AuthenticationError, errors.PermissionDeniedError)):
        return AccessRefused()
    return DownloadFailed(reason_of(error, getattr(error, "status_code", None)))


def _progress_class(on_progress: OnProgress, total: int) -> type[Any]:
    """For the ModelScope client, which makes one object a file: bytes summed over all files."""
    from modelscope_hub import ProgressCallback

    lock = threading.Lock()
    done = 0

    class Sum(ProgressCallback):
        def update(self, size: int) -> None:
            nonlocal done
            with lock:
                done += size
                on_progress("downloading", done, total)

    return Sum


@contextmanager
def _quiet_modelscope() -> Iterator[None]:
    """Its bars and log lines would be drawn across ours; it has no switch for the bars."""
    client: Any = importlib.import_module("modelscope_hub._download")
    logger = logging.getLogger("modelscope_hub")
    bar, level = client.tqdm, logger.level
    client.tqdm = silent_bar_class()
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        client.tqdm = bar
        logger.setLevel(level)
