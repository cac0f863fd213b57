"""A virtual environment a tool: made once, with pinned versions, outside the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from selfhood.starter import cache_folder

TORCH = "torch==2.13.0"
# Drawn in by some tools, not needed for text, and not loadable beside every build of torch.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
READY = "ready.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """``requirements`` empty: the interpreter that runs the bench."""

    name: str
    requirements: tuple[str, ...] = ()
    shown: tuple[str, ...]
    """Distributions whose versions belong to the results."""


def default_root() -> Path:
    return cache_folder(os.environ) / "peers"


def programs(environment: Environment, root: Path) -> Path:
    """The folder with the environment's ``python``; it has to be there."""
    if not environment.requirements:
        return Path(sys.executable).parent
    return root / environment.name / "bin"


def prepare(environment: Environment, root: Path) -> None:
    """Make the environment, unless these very versions are there already."""
    wanted = "\n".join((TORCH, *environment.requirements))
    ready = root / environment.name / READY
    if not environment.requirements or (ready.is_file() and ready.read_text() == wanted):
        return
    print(f"installing {', '.join(environment.requirements)} into {ready.parent}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", ready.parent], check=True)
    pip = [str(programs(environment, root) / "python"), "-m", "pip", "--quiet"]
    # torch first and by itself: what comes after it then keeps this build.
    subprocess.run([*pip, "install", TORCH], check=True)
    subprocess.run([*pip, "install", TORCH, *environment.requirements], check=True)
    subprocess.run([*pip, "uninstall", "--yes", *UNWANTED], check=True)
    ready.write_text(wanted)


def versions(environment: Environment, root: Path) -> str:
    """``torch 2.13.0, transformers 5.19.0``"""
    ask = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(n, m.version(n))"
    python = programs(environment, root) / "python"
    names = ("torch", *environment.shown)
    done = subprocess.run([python, "-c", ask, *names], check=True, capture_output=True, text=True)
    return ", ".join(done.stdout.splitlines())
