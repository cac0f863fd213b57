"""Weights from the dtype of their file to another, one at a time.

transformers maps a file into memory where it is to be used as it is. To use it in another dtype it
reads the whole file and writes the whole copy: for a while both are resident. Here a weight's pages
are given back to the system as soon as it is copied.
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MADV_DONTNEED = 4  # Linux: forget these pages; the file still has them


def convert(model: Any, dtype: torch.dtype) -> None:
    """In place. Buffers stay as they are: positions need their float32."""
    model.config.dtype = dtype
    files = mapped_files()
    for weight in model.parameters():
        if weight.is_floating_point():
            original = weight.data
            weight.data = original.to(dtype)
            if any(original.data_ptr() in file for file in files):
                give_back(original)


def mapped_files() -> list[range]:
    """Addresses at which files of weights are mapped, as Linux lists them."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    bounds = [line.split()[0].split("-") for line in lines if line.endswith(".safetensors")]
    return [range(int(start, 16), int(end, 16)) for start, end in bounds]


def give_back(tensor: Tensor) -> None:
    """The whole pages of a tensor that lies in a mapped file."""
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        libc = ctypes.CDLL(None)
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)
