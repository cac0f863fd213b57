"""``--resume_from_checkpoint``: the flags of the run that goes on; what is typed wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfhood.recipe import Recipe
from selfhood.run import find_resumable

NO = ("false", "no", "0", "none", "")


def is_wanted(recipe: Recipe) -> bool:
    asked = recipe.train.resume_from_checkpoint
    return asked is not None and asked.strip().lower() not in NO


def resumed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Typed values over those the checkpoint remembers."""
    asked: str = values["resume_from_checkpoint"]
    if asked.strip().lower() in NO:
        return {**values, "resume_from_checkpoint": None}
    checkpoint = find_resumable(asked, Path(values.get("output_dir") or "output").expanduser())
    return {**checkpoint.args(), **values, "resume_from_checkpoint": str(checkpoint.path)}
