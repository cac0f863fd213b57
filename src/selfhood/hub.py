"""A model or dataset reference -> a path on this disk.

folder or .gguf  ->  starter model  ->  hub's cache  ->  is the hub there?  ->  download
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from selfhood.errors import MissingError, SelfhoodError
from selfhood.hubs import (
    AccessRefused,
    Client,
    DownloadFailed,
    Kind,
    Repo,
    RepoAbsent,
    has_all_weights,
)
from selfhood.hubs.hugging_face import HuggingFace
from selfhood.hubs.modelscope import ModelScope
from selfhood.starter import STARTER_ID, OnProgress, cache_folder, silent, starter_folder

REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
# As the tutorials print them: to be replaced by the reader.
PLACEHOLDER = re.compile(r"<.*>|/?path/to(/.*)?")
DATA_SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet", ".arrow", ".zip")
FILE_SUFFIXES = (*DATA_SUFFIXES, ".gguf", ".safetensors", ".bin", ".pt", ".yaml", ".yml")
# Where the two hubs keep the tutorials' datasets under different names.
HUGGING_FACE_NAMES = {
    "swift/self-cognition": "modelscope/self-cognition",
    "AI-ModelScope/alpaca-gpt4-data-zh": "llm-wizard/alpaca-gpt4-data-zh",
    "AI-ModelScope/alpaca-gpt4-data-en": "vicgalle/alpaca-gpt4",
}


class Hub(StrEnum):
    MODELSCOPE = "modelscope"
    HUGGING_FACE = "hugging_face"


PREFIXES = {"MS": Hub.MODELSCOPE, "HF": Hub.HUGGING_FACE}
CLIENTS: Mapping[Hub, Client] = {
    Hub.MODELSCOPE: ModelScope(),
    Hub.HUGGING_FACE: HuggingFace(),
}


def choose_hub(use_hf: bool | None, environment: Mapping[str, str]) -> Hub:
    """``--use_hf`` if given, else USE_HF, else ModelScope; None means the flag was not given."""
    if use_hf is None:
        use_hf = environment.get("USE_HF", "").lower() in ("1", "true", "yes", "on")
    return Hub.HUGGING_FACE if use_hf else Hub.MODELSCOPE


def find_model(
    reference: str, *, hub: Hub, revision: str | None = None, on_progress: OnProgress = silent
) -> Path:
    """The folder or .gguf file that ``reference`` names, downloaded if it has to be."""
    local = Path(reference).expanduser()
    if local.exists():
        return local
    check_reference(reference)
    hub, name = _split_prefix(reference, hub)
    is_prefixed = name != reference
    if "/" not in name:
        name = f"Qwen/{name}"
    # With a prefix the reader wants the original, not our conversion of it.
    if name == STARTER_ID and revision is None and not is_prefixed:
        return starter_folder(cache_folder(os.environ), on_progress)
    folder = _fetch(Repo(kind=Kind.MODEL, id=name, revision=revision), hub, on_progress)
    if not has_all_weights(folder):
        raise MissingError(
            "the repository holds no safetensors weights",
            where=reference,
            hint="pickled weights are never loaded; for GGUF, download one file and give its path",
        )
    return folder


def find_dataset(
    reference: str, *, hub: Hub, revision: str | None = None, on_progress: OnProgress = silent
) -> Path:
    """The folder or file that ``reference`` names, downloaded if it has to be."""
    local = Path(reference).expanduser()
    if local.exists():
        return local
    check_reference(reference)
    hub, name = _split_prefix(reference, hub)
    if name == "self-cognition":
        name = "swift/self-cognition"
    if hub is Hub.HUGGING_FACE:
        name = HUGGING_FACE_NAMES.get(name, name)
    return _fetch(Repo(kind=Kind.DATASET, id=name, revision=revision), hub, on_progress)


def _split_prefix(reference: str, hub: Hub) -> tuple[Hub, str]:
    """``hf::Qwen/Qwen3-8B`` -> (HUGGING_FACE, ``Qwen/Qwen3-8B``)."""
    prefix, mark, name = reference.partition("::")
    chosen = PREFIXES.get(prefix.upper()) if mark else None
    return (chosen, name) if chosen else (hub, reference)


def check_reference(reference: str) -> None:
    """A path that is not there must not become a question to a hub."""
    if Path(reference).expanduser().exists():
        return
    if PLACEHOLDER.fullmatch(reference):
        raise MissingError(
            "this is the tutorial's placeholder, not a path or an id",
            where=reference,
            hint="put your own folder or a hub id such as Qwen/Qwen2.5-0.5B-Instruct in its place",
        )
    looks_like_path = (
        reference.startswith((".", "/", "~", "\\"))
        or reference.endswith("/")
        or Path(reference).suffix.lower() in FILE_SUFFIXES
        or reference.count("/") > 1
    )
    if looks_like_path:
        raise MissingError("no such file or folder", where=reference, hint=_near_names(reference))


def _near_names(reference: str) -> str:
    path = Path(reference).expanduser()
    if not path.parent.is_dir():
        return f"its parent folder {path.parent} does not exist either"
    names = [entry.name for entry in path.parent.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3)
    if not near:
        return f"nothing in {path.parent} has a name like it"
    return f"did you mean {' or '.join(str(path.parent / name) for name in near)}?"


def _fetch(repo: Repo, hub: Hub, on_progress: OnProgress) -> Path:
    """From the hub's cache without a question, else from the hub, if it answers."""
    from selfhood.hubs.reach import why_unreachable  # brings http.client; a mistake needs it not

    client = CLIENTS[hub]
    if not REPO_ID.fullmatch(repo.id):
        raise MissingError(
            f"neither a path on this disk nor a {repo.kind} id",
            where=repo.id,
            hint=_built_in(repo) or "on a hub the name is written owner/name",
        )
    if folder := client.cached(repo):
        return folder
    if client.is_switched_off():
        raise _unreachable(repo, client, "HF_HUB_OFFLINE is set")
    on_progress(f"asking {client.title}", 0, 0)
    if reason := why_unreachable(client.endpoint()):
        raise _unreachable(repo, client, reason)
    try:
        return client.download(repo, on_progress)
    except RepoAbsent as error:
        raise _absent(repo, hub) from error
    except AccessRefused as error:
        raise _refused(repo, client) from error
    except DownloadFailed as error:
        raise SelfhoodError(
            f"download from {client.title} failed: {error}",
            where=repo.id,
            hint="run it again: finished files are kept",
        ) from error


def _unreachable(repo: Repo, client: Client, reason: str) -> SelfhoodError:
    address = client.endpoint().partition("://")[2]
    hint = f"check network and proxy, or give a {repo.kind} on this disk by its path"
    if repo.kind is Kind.MODEL:
        hint += f"; {STARTER_ID} needs no network"
    return SelfhoodError(
        f"not on this disk, and {client.title} ({address}) cannot be asked: {reason}",
        where=repo.id,
        hint=_built_in(repo) or hint,
    )


def _absent(repo: Repo, hub: Hub) -> MissingError:
    other = "HF" if hub is Hub.MODELSCOPE else "MS"
    client = CLIENTS[hub]
    revision = f" with revision '{repo.revision}'" if repo.revision else ""
    return MissingError(
        f"{client.title} has no public {repo.kind} of this name{revision}",
        where=repo.id,
        hint=_built_in(repo)
        or f"check the spelling, or look on the other hub with {other}::{repo.id}; "
        f"for a private one set {client.token_variable}",
    )


def _refused(repo: Repo, client: Client) -> MissingError:
    return MissingError(
        f"{client.title} lets only people with permission read this {repo.kind}",
        where=repo.id,
        hint=f"ask for access on its page at {client.endpoint()} "
        f"and set {client.token_variable} to a valid token",
    )


def _built_in(repo: Repo) -> str | None:
    """The dataset that most readers are after is in the package."""
    if repo.kind is Kind.DATASET and repo.id.rpartition("/")[2] == "self-cognition":
        return "use `--dataset identity`, which ships with selfhood"
    return None
