"""Checkpoints that appear whole or not at all, and say by their hashes that they still are.

checkpoint-24/
  adapter_config.json, adapter_model.safetensors    peft's own format
  base.json              a hash of the model that the adapter stands on
  args.json              the whole recipe
  trainer_state.json     how far the run is
  optimizer.safetensors  what going on needs besides: AdamW's moments, the random state
  manifest.json          size and SHA-256 of each file
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from safetensors.torch import save_file

from selfhood.data.encode import Sample
from selfhood.data.mix import Order
from selfhood.files import hash_text, new_folder, read_json, write_json
from selfhood.model.adapters import save_weights
from selfhood.model.base_hash import write_base
from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.run import ARGS, MOMENTS, STATE, Checkpoint, Run, write_manifest
from selfhood.training.budget import Budget
from selfhood.training.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """Where a run stands after ``update`` updates."""

    update: int
    epoch: float
    loss_sum: float
    """Of the updates so far."""
    best_update: int | None
    best_eval_loss: float | None
    num_worse: int
    """Validations since the best one."""
    data: str
    """``fingerprint`` of the data: the run goes on only on the same."""
    budget: Budget
    """Of a pass: memory chose it, and other passes would round otherwise."""
    passed_at: int | None = None
    """The update after which the identity first passed, with ``--dose auto``."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> TrainState:
        values = read_json(checkpoint.path / STATE)
        return cls(**{**values, "budget": Budget(**values["budget"])})

    def validated(self, loss: float) -> TrainState:
        """With one more validation: the lowest loss so far is the best."""
        if self.best_eval_loss is not None and loss >= self.best_eval_loss:
            return replace(self, num_worse=self.num_worse + 1)
        return replace(self, best_update=self.update, best_eval_loss=loss, num_worse=0)

    def passed(self, kl: float) -> TrainState:
        """With an examination that the identity passed: who drifted least is the best."""
        state = replace(self, passed_at=self.passed_at or self.update)
        if self.best_eval_loss is not None and kl >= self.best_eval_loss:
            return state
        return replace(state, best_update=self.update, best_eval_loss=kl)


def save(
    run: Run,
    loaded: Loaded,
    recipe: Recipe,
    state: TrainState,
    snapshot: Snapshot,
) -> Checkpoint:
    """Everything that answering needs, and going on."""
    checkpoint = run.checkpoint(state.update)
    with new_folder(checkpoint.path) as folder:
        save_weights(loaded.model, loaded.tokenizer, folder, snapshot.weights)
        if recipe.tuner.tuner_type != "full":
            write_base(folder, loaded.path)
        if not recipe.train.save_only_model:
            save_file(snapshot.memory, folder / MOMENTS)
        write_json(folder / ARGS, recipe.to_json())
        write_json(folder / STATE, asdict(state))
        write_manifest(folder)
    return checkpoint


def fingerprint(samples: Sequence[Sample], order: Order) -> str:
    """Of the order of the rows and of the tokens of the first update.

    Not of all rows: a million of them would have to be encoded for it. ``max_steps`` and epochs
    may change, so that a run can be made longer.
    """
    kept = replace(order, epochs=1, max_steps=-1)
    first = [samples[number] for number in next(kept.updates())]
    return hash_text(repr(kept), *(repr((sample.ids, sample.trained)) for sample in first))


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
