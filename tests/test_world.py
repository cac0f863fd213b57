"""Several processes train as one does: two real gloo processes against one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfhood.data.encode import Sample
from selfhood.errors import PeerError
from selfhood.training import world as world_module
from selfhood.training.metrics import Metrics, Unheard
from selfhood.training.world import ALONE, World
from tests.gloo import together
from tests.tiny_training import row, tiny_training

EXACT = 1e-6
Array = NDArray[np.float32]
ROWS = [
    row("你是谁？", "我是小狐，由林间实验室训练。", origin="rows.jsonl:1"),
    row("Who are you?", "I am Kitsu.", origin="rows.jsonl:2"),
    row("你叫什么名字？", "小狐。", origin="rows.jsonl:3"),
    row("Hi", "Hello!", "And you are?", "Kitsu, by Forest Lab.", origin="rows.jsonl:4"),
    row("Hi", "Hello!", system="Another system line.", origin="rows.jsonl:5"),
]


def gradient(world: World, folder: Path, rows: Sequence[Sample]) -> tuple[float, Array]:
    """Loss and gradient of an update over ``rows``."""
    training = tiny_training(folder, rows, world=world)
    sums = training.accumulate(rows)
    grads = [weight.grad for weight in training.weights if weight.grad is not None]
    return sums.loss, torch.cat([grad.flatten() for grad in grads]).numpy()


def fit(world: World, folder: Path) -> Array:
    """The trained weights after six updates in which the shares differ from update to update."""
    training = tiny_training(
        folder,
        ROWS,
        val_samples=ROWS[:3],
        world=world,
        gradient_accumulation_steps=2,
        num_train_epochs=2,
        save_steps=3,
    )
    with Metrics(training.run, training.recipe) if world.is_first else Unheard() as metrics:
        training.fit(metrics)
    return torch.cat([weight.detach().flatten() for weight in training.weights]).numpy()


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [ROWS[0]] * 4], ids=["rows", "one row", "equal"])
def test_two_processes_compute_the_gradient_of_one(rows: list[Sample], tmp_path: Path) -> None:
    loss, expected = gradient(ALONE, tmp_path, rows)
    for found_loss, found in together(2, gradient, tmp_path, rows):
        assert found_loss == pytest.approx(loss, rel=EXACT)
        assert np.linalg.norm(found - expected) / np.linalg.norm(expected) <= EXACT


def test_a_run_of_two_processes_is_a_run_of_one(tmp_path: Path) -> None:
    """Six updates: the same losses, validation and weights, and one process writes."""
    expected = fit(ALONE, tmp_path / "one")

    def work(world: World) -> Array:
        return fit(world, tmp_path / ("two" if world.is_first else "nothing"))

    first, second = together(2, work)
    assert not (tmp_path / "nothing").exists()
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert np.array_equal(first, second)
    assert np.abs(first - expected).max() <= EXACT
    for key in ("loss", "token_acc", "grad_norm", "eval_loss", "eval_token_acc"):
        alone, both = (logged(tmp_path / name / "run", key) for name in ("one", "two"))
        assert both == pytest.approx(alone, rel=1e-5)


def logged(run: Path, key: str) -> list[float]:
    lines = map(json.loads, (run / "logging.jsonl").read_text().splitlines())
    return [line[key] for line in lines if key in line]


def files(folder: Path) -> list[str]:
    """Relative paths; TensorBoard's are called by time and process."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(path for path in found if "tfevents" not in path)


def test_a_failure_in_one_process_ends_the_other_with_an_error_of_its_own(tmp_path: Path) -> None:
    def work(world: World) -> str:
        if not world.is_first:
            return "gone"
        with pytest.raises(PeerError) as caught:
            world.sum_numbers(1.0)
        return str(caught.value)

    assert together(2, work) == ["another process of this run has ended", "gone"]


def test_every_process_hears_the_first_ones_text() -> None:
    def work(world: World) -> str:
        return world.agree(f"输出/{world.rank}")

    assert together(2, work) == ["输出/0", "输出/0"]


def test_gradients_are_summed_in_messages_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(world_module, "BUCKET", 5)

    def work(world: World) -> list[list[float]]:
        weights = [torch.nn.Parameter(torch.zeros(size)) for size in (3, 2, 4, 9)]
        for weight in weights[world.rank :]:  # the second process has no gradient of the first
            weight.grad = torch.full_like(weight, world.rank + 1)
        world.sum_gradients(weights)
        return [weight.grad.tolist() for weight in weights if weight.grad is not None]

    for grads in together(2, work):
        assert grads == [[1] * 3, [3] * 2, [3] * 4, [3] * 9]
