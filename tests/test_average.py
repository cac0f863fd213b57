"""A run may end with the mean of its later weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from selfhood.errors import FlagError
from selfhood.recipe import Recipe
from selfhood.run import Run
from selfhood.training.metrics import Metrics
from tests.tiny_training import row, tiny_training

ROWS = [row("Hi", "Hello!"), row("Who?", "Kitsu.")]
NAME = "adapter_model.safetensors"


def trained(folder: Path, **options: Any) -> dict[int, dict[str, Tensor]]:
    """The weights of every checkpoint."""
    training = tiny_training(folder, ROWS, max_steps=6, learning_rate=1e-2, save_steps=1, **options)
    with Metrics(Run(folder / "run"), training.recipe) as metrics:
        outcome = training.fit(metrics)
    return {each.update: load_file(each.path / NAME) for each in outcome.run.checkpoints()}


def test_a_run_ends_with_the_mean_of_its_later_weights(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain")
    averaged = trained(tmp_path / "averaged", average_from=4)
    for name, weight in averaged[6].items():
        mean = torch.stack([plain[update][name] for update in (4, 5, 6)]).mean(0)
        torch.testing.assert_close(weight, mean)


def test_the_mean_does_not_change_how_it_trains(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain")
    averaged = trained(tmp_path / "averaged", average_from=2)
    for update in range(1, 6):
        for name, weight in averaged[update].items():
            assert torch.equal(weight, plain[update][name])


def test_there_is_no_mean_of_parts() -> None:
    with pytest.raises(FlagError, match="averages"):
        Recipe.from_values({"model": "tiny", "fsdp": "fsdp2", "average_from": 4})
