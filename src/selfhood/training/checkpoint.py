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
        # "auto" would ask the hub for the base's vocabulary size; this house never resizes it.
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        # peft's model card would carry paths of this machine and says nothing about this model.
        (folder / "README.md").unlink(missing_ok=True)
        write_json(folder / ARGS, recipe.to_json())
        write_json(folder / "trainer_state.json", asdict(state))
    return checkpoint


def prune(run: Run, *, keep: int, spare: int | None) -> None:
    """Delete the oldest beyond ``keep``, but never the newest or the best one (``spare``)."""
    *older, _ = checkpoints = run.checkpoints()
    surplus = max(len(checkpoints) - keep, 0)
    expendable = [checkpoint for checkpoint in older if checkpoint.update != spare]
    for checkpoint in expendable[:surplus]:
        # Renamed first: a crash must not leave half a checkpoint under its name.
        doomed = checkpoint.path.with_name(f".{checkpoint.path.name}.old.tmp")
        checkpoint.path.rename(doomed)
        shutil.rmtree(doomed)
