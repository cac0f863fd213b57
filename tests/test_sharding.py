"""Weights spread over two processes (FSDP2) train as whole ones do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch.distributed.tensor import DTensor

from selfhood import api
from selfhood.errors import FlagError
from selfhood.recipe import Recipe
from selfhood.training.loop import Training
from selfhood.training.metrics import Metrics, Unheard
from selfhood.training.world import ALONE, World
from tests.gloo import together
from tests.test_world import ROWS, logged
from tests.tiny_training import tiny_training

EXACT = 1e-6
Array = NDArray[np.float32]


def gradient(world: World, folder: Path, budget: int, **flags: Any) -> tuple[float, Array]:
    training = tiny_training(folder, ROWS, world=world, token_budget=budget, **flags)
    training.loaded.model.train()
    sums = training.accumulate(ROWS)
    whole = training.descent.whole
    grads = [whole(weight.grad) for weight in training.weights if weight.grad is not None]
    return sums.loss, torch.cat([grad.flatten() for grad in grads]).numpy()


@pytest.mark.parametrize("budget", [64, 2048], ids=["five passes", "one pass"])
def test_the_gradient_is_that_of_one_process_with_whole_weights(
    budget: int, tmp_path: Path
) -> None:
    """Five rows are three passes in one process and two in the other, which then idles."""
    loss, expected = gradient(ALONE, tmp_path, budget)
    for found_loss, found in together(2, gradient, tmp_path, budget, fsdp="fsdp2"):
        assert found_loss == pytest.approx(loss, rel=EXACT)
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) <= EXACT


def test_each_process_holds_half_of_every_weight(tmp_path: Path) -> None:
    def work(world: World) -> tuple[int, int]:
        model = tiny_training(tmp_path, ROWS, world=world, fsdp="fsdp2").loaded.model
        weights = list(model.parameters())
        assert all(isinstance(weight, DTensor) for weight in weights)
        held = sum(weight.to_local().numel() for weight in weights)
        return held, sum(weight.numel() for weight in weights)

    for held, total in together(2, work):
        assert held == pytest.approx(total / 2, rel=0.01)


def fit(world: World, folder: Path, **flags: Any) -> Training:
    training = tiny_training(
        folder,
        ROWS,
        val_samples=ROWS[:3],
        world=world,
        gradient_accumulation_steps=2,
        num_train_epochs=2,
        save_steps=3,
        **flags,
    )
    with Metrics(training.run, training.recipe) if world.is_first else Unheard() as metrics:
        training.fit(metrics)
    return training


def test_a_run_leaves_the_checkpoint_that_one_process_leaves(tmp_path: Path) -> None:
    """Adapter, AdamW's moments, losses and validation; whole, and under the same names."""
    fit(ALONE, tmp_path / "one")

    def work(world: World) -> None:
        fit(world, tmp_path / ("two" if world.is_first else "nothing"), fsdp="fsdp2")

    together(2, work)
    assert not (tmp_path / "nothing").exists()
    for name in ("adapter_model.safetensors", "optimizer.safetensors"):
        one, two = (load_file(tmp_path / at / "run/checkpoint-6" / name) for at in ("one", "two"))
        two.pop("random/1/cpu", None)
        assert one.keys() == two.keys()
        for key in one.keys() - {"random/0/cpu"}:
            assert np.allclose(one[key], two[key], rtol=1e-3, atol=EXACT), key
    for key in ("loss", "grad_norm", "eval_loss"):
        alone, both = (logged(tmp_path / at / "run", key) for at in ("one", "two"))
        assert both == pytest.approx(alone, rel=1e-5)


def test_one_process_alone_is_told_before_anything_is_read() -> None:
    with pytest.raises(FlagError, match="--fsdp: one process has nobody to share with"):
        api.plan(Recipe.from_values({"fsdp": "fsdp2"}))
