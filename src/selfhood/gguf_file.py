"""Reading a GGUF file: header, tensor table, numbers.

Not ``gguf.GGUFReader``: that needs the file in one piece and makes an array object per vocabulary
entry (10 s where a cursor takes half a second). The block formats themselves are gguf's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from selfhood.errors import SelfhoodError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Numbers de-quantised at once: few enough to stay in the cache of one core, enough that numpy's
# call overhead does not show.
NUMBERS_AT_ONCE = 1 << 20
# llama.cpp's default, which its Qwen2 files keep.
ALIGNMENT = 32

# struct formats of the fixed-size value types of a GGUF header, by type number.
SCALARS = {**dict(enumerate("BbHhIif?")), 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

# What a header may hold: a number, a text, or a list of one of them.
Value = bool | int | float | str | list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where one tensor's bytes lie; ``shape`` is in numpy order, rows first."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """All of a GGUF file but its tensors' bytes."""

    values: dict[str, Value]
    tensors: tuple[Tensor, ...]

    def number(self, key: str) -> int:
        return int(self._value(key, int))

    def real(self, key: str) -> float:
        return float(self._value(key, float))

    def text(self, key: str) -> str:
        return str(self._value(key, str))

    def items(self, key: str) -> list[Any]:
        return list(self._value(key, list))

    def _value(self, key: str, kind: type) -> Any:
        value = self.values.get(key)
        if not isinstance(value, kind):
            raise SelfhoodError(f"the GGUF header has no usable '{key}'")
        return value


def read_header(file: BinaryIO) -> Header:
    """Parse the key-value pairs and the tensor table; leaves no tensor byte read."""
    magic, version, num_tensors, num_values = _unpack(file, "4sIQQ")
    if magic != b"GGUF" or version not in (2, 3):
        raise SelfhoodError(f"not a GGUF file of version 2 or 3 (it starts with {magic!r})")
    values = {_read_text(file): _read_value(file) for _ in range(num_values)}
    tensors = [_read_tensor(file) for _ in range(num_tensors)]
    start = -file.tell() % ALIGNMENT + file.tell()
    return Header(
        values=values,
        tensors=tuple(
            Tensor(name=t.name, shape=t.shape, kind=t.kind, offset=start + t.offset)
            for t in tensors
        ),
    )


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    layout = f"<{layout}"
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _read_text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    return file.read(length).decode("utf-8")


def _read_value(file: BinaryIO) -> Value:
    (kind,) = _unpack(file, "I")
    if kind != ARRAY:
        return _read_item(file, kind)
    kind, length = _unpack(file, "IQ")
    if kind in SCALARS:
        return list(_unpack(file, f"{length}{SCALARS[kind]}"))
    return [_read_item(file, kind) for _ in range(length)]


def _read_item(file: BinaryIO, kind: int) -> bool | int | float | str:
    if kind == STRING:
        return _read_text(file)
    item: bool | int | float = _unpack(file, SCALARS[kind])[0]
    return item


def _read_tensor(file: BinaryIO) -> Tensor:
    name = _read_text(file)
    (num_axes,) = _unpack(file, "I")
    shape = _unpack(file, f"{num_axes}Q")
    kind, offset = _unpack(file, "IQ")
    return Tensor(name=name, shape=shape[::-1], kind=kind, offset=offset)


def float_chunks(file: BinaryIO, tensor: Tensor) -> Iterator[NDArray[np.float32]]:
    """The tensor's numbers in order, a few rows at a time."""
    import gguf
    import numpy as np

    kind = gguf.GGMLQuantizationType(tensor.kind)
    block_size, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    row = tensor.shape[-1]
    row_bytes = row // block_size * block_bytes
    rows_at_once = max(1, NUMBERS_AT_ONCE // row)
    file.seek(tensor.offset)
    rows_left = tensor.size // row
    while rows_left:
        rows = min(rows_left, rows_at_once)
        raw = np.frombuffer(file.read(rows * row_bytes), np.uint8).reshape(rows, row_bytes)
        yield np.ascontiguousarray(gguf.dequantize(raw, kind), np.float32)
        rows_left -= rows
