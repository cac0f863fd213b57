"""Whether an adapter stands on the model that it was trained on.

The names, shapes and some bytes of all weights, hashed: milliseconds, whatever the model's size. Of
two models every matrix differs, so a part of each tells them apart; into which files they are split
says nothing.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from selfhood.errors import InputError
from selfhood.files import read_json, write_json
from selfhood.run import BASE

SAMPLE_BYTES = 1024
NUM_SAMPLES = 256  # of a file in which tensors are not told apart


def write_base(folder: Path, model_path: Path) -> None:
    """Remember in a checkpoint's ``folder`` which model it belongs to, if it is on disk."""
    found = hash_weights(model_path)
    if found is not None:
        write_json(folder / BASE, {"sha256": found})


def check_base(folder: Path, model_path: Path) -> None:
    """Raise for an adapter that remembers another model; one of another tool remembers none."""
    file = folder / BASE
    if file.is_file() and read_json(file).get("sha256") != hash_weights(model_path):
        raise InputError(
            "was trained on another base model",
            where=str(folder),
            hint=f"it stands on that one only, not on {model_path.name}",
        )


def hash_weights(path: Path) -> str | None:
    """SHA-256 over samples of a model folder's safetensors, or of a .gguf file; None without."""
    if path.is_file():
        return hashlib.sha256(b"".join(_samples(path))).hexdigest()
    found = [tensor for file in path.glob("*.safetensors") for tensor in _tensors(file)]
    return hashlib.sha256(b"".join(sorted(found))).hexdigest() if found else None


def _tensors(file: Path) -> list[bytes]:
    """Of each tensor: name, dtype, shape, and bytes from its middle."""
    found = []
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        table = json.loads(stream.read(length))
        table.pop("__metadata__", None)
        for name, tensor in table.items():
            start, end = tensor["data_offsets"]
            middle = max(start, (start + end - SAMPLE_BYTES) // 2)
            stream.seek(8 + length + middle)
            label = json.dumps([name, tensor["dtype"], tensor["shape"]])
            found.append(label.encode() + stream.read(min(SAMPLE_BYTES, end - middle)))
    return found


def _samples(file: Path) -> list[bytes]:
    """Bytes from all over a file, and its size."""
    size = file.stat().st_size
    found = [str(size).encode()]
    with file.open("rb") as stream:
        for number in range(NUM_SAMPLES):
            stream.seek(number * size // NUM_SAMPLES)
            found.append(stream.read(SAMPLE_BYTES))
    return found
