"""selfhood: give a language model an identity of its own.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from selfhood.version import VERSION as __version__

if TYPE_CHECKING:
    from selfhood.api import load, merge, plan, train
    from selfhood.data.spec import DatasetSpec
    from selfhood.persona import Persona
    from selfhood.recipe import Recipe
    from selfhood.run import Run

_HOMES = {
    "DatasetSpec": "selfhood.data.spec",
    "Persona": "selfhood.persona",
    "Recipe": "selfhood.recipe",
    "Run": "selfhood.run",
    "load": "selfhood.api",
    "merge": "selfhood.api",
    "plan": "selfhood.api",
    "train": "selfhood.api",
}

__all__ = [
    "DatasetSpec",
    "Persona",
    "Recipe",
    "Run",
    "__version__",
    "load",
    "merge",
    "plan",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfhood' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
