"""Checkpoints that appear whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import Any

from selfhood.files import new_folder, write_json
from selfhood.recipe import Recipe
from selfhood.run import ARGS, Checkpoint, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """Where a run stands after ``update`` updates."""

    update: int
    epoch: float
    best_update: int | None
    best_eval_loss: float | None


def save(run: Run, model: Any, recipe: Recipe, state: TrainState) -> Checkpoint:
    """The adapter in peft's own format, the recipe, and the state of the run."""
    checkpoint = run.checkpoint(state.update)
    with new_folder(checkpoint.path) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        # peft's model card would carry paths of this machine and says nothing about this model.
        (folder / "README.md").unlink(missing_ok=True)
        write_json(folder / ARGS, recipe.to_json())
        write_json(folder / "trainer_state.json", asdict(state))
    return checkpoint


def prune(run: Run, *, keep: int, spare: int | None) -> None:
    """Delete the oldest checkpoints beyond ``keep``; the best one (``spare``) stays."""
    surplus = len(run.checkpoints()) - keep
    for checkpoint in run.checkpoints()[: max(surplus, 0)]:
        if checkpoint.update != spare:
            shutil.rmtree(checkpoint.path)
