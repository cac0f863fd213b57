"""What base models answered, kept under the cache folder: the next run need not ask again.

    $SELFHOOD_CACHE/anchors/<base>-<dtype>-<lengths>/<hash>.safetensors    replies and hidden states

A model is known by its config and by samples of its weight files: to hash 15 GB would take longer
than the answers. Deleting any of it is always safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from selfhood.console import warn
from selfhood.errors import SelfhoodError
from selfhood.files import hash_text, write_atomic
from selfhood.model.load import Loaded
from selfhood.starter import cache_folder

BLOCK = 4096  # bytes
NUM_BLOCKS = 256  # read of each weight file


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A reply, end mark included, and the hidden states (K, D) that predict its tokens."""

    ids: tuple[int, ...]
    states_KD: Tensor


class BaseMemory:
    """Rendered prompt -> what one base model answered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = dict(_read_all(folder))

    @classmethod
    def of(cls, loaded: Loaded, *, lengths: Sequence[int]) -> BaseMemory:
        """``lengths``: how many tokens were asked for. Of fewer it remembers less."""
        dtype = str(loaded.dtype).removeprefix("torch.")
        name = f"{fingerprint(loaded.path)[:16]}-{dtype}-{'-'.join(map(str, lengths))}"
        return cls(cache_folder(os.environ) / "anchors" / name)

    def __contains__(self, prompt: str) -> bool:
        return hash_text(prompt) in self._known

    def __getitem__(self, prompt: str) -> Recalled:
        return self._known[hash_text(prompt)]

    def keep(self, new: Mapping[str, Recalled]) -> None:
        """Remember, on disk too where it can be written."""
        known = {hash_text(prompt): recalled for prompt, recalled in new.items()}
        self._known |= known
        tensors = {}
        for key, recalled in known.items():
            tensors[f"{key}.ids"] = torch.tensor(recalled.ids)
            tensors[f"{key}.states"] = recalled.states_KD.contiguous()
        try:
            write_atomic(self._folder / f"{hash_text(*known)[:16]}.safetensors", save(tensors))
        except SelfhoodError as error:
            warn(f"{error}; the base will be asked again next time")


def fingerprint(path: Path) -> str:
    """Of a model's config and weights, by blocks spread over each file."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as stream:
            for number in range(NUM_BLOCKS):
                stream.seek(number * max(size - BLOCK, 0) // (NUM_BLOCKS - 1))
                digest.update(stream.read(BLOCK))
    config = path / "config.json"
    if config.is_file():
        digest.update(config.read_bytes())
    return digest.hexdigest()


def _read_all(folder: Path) -> Iterator[tuple[str, Recalled]]:
    for file in sorted(folder.glob("*.safetensors")):
        with contextlib.suppress(SafetensorError, OSError):  # as good as not there
            tensors = load_file(file)
            for name, ids in tensors.items():
                key, _, kind = name.partition(".")
                if kind == "ids":
                    states_KD = tensors[f"{key}.states"]
                    yield key, Recalled(ids=tuple(ids.tolist()), states_KD=states_KD)
