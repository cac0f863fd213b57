"""Two processes that are cut go on as if they had not been; what fails in one ends both."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from selfhood import api
from selfhood.cli.main import main
from selfhood.data.encode import Sample
from selfhood.errors import InputError, SelfhoodError
from selfhood.processes import ERROR_FILE
from selfhood.recipe import Recipe
from selfhood.run import Run
from selfhood.training.loop import Training, UpdateSums
from tests.gloo import as_launched
from tests.tiny import tiny_model

ROWS = [
    ("你是谁？", "我是小狐。"),
    ("Hi", "Hello!"),
    ("谁做的？", "林间实验室。"),
    ("17 + 25?", "42"),
]
ADAPTER = "adapter_model.safetensors"


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Six updates of three rows; ``flags`` add to or change the recipe's."""
    tiny_model(tmp_path / "tiny")
    lines = [json.dumps({"query": query, "response": reply}) for query, reply in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    values = {
        "model": str(tmp_path / "tiny"),
        "dataset": (f"{tmp_path / 'rows.jsonl'}#9",),
        "torch_dtype": "float32",
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "save_steps": 100,
        "add_version": False,
    }

    def make(output: str, **flags: Any) -> Recipe:
        return Recipe.from_values(values | {"output_dir": str(tmp_path / output)} | flags)

    return make


def train(recipe: Recipe) -> str:
    return str(api.train(api.plan(recipe)).last.path)


def cut_after(update: int, rank: str, recipe: Recipe) -> str:
    """The only checkpoint of a run of which one process hears Ctrl-C in the next update."""
    as_launched(2, train_until, update, rank, recipe)
    (checkpoint,) = Run(Path(recipe.train.output_dir or "")).checkpoints()
    assert checkpoint.update == update
    return str(checkpoint.path)


def train_until(update: int, rank: str, recipe: Recipe) -> None:
    accumulate = Training.accumulate

    def signalled(self: Training, samples: Sequence[Sample]) -> UpdateSums:
        if self.state.update == update and os.environ["RANK"] == rank:
            os.kill(os.getpid(), signal.SIGINT)
        return accumulate(self, samples)

    Training.accumulate = signalled  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(recipe)


@pytest.mark.parametrize(
    "flags", [{}, pytest.param({"fsdp": "fsdp2"}, marks=pytest.mark.slow)], ids=["ddp", "fsdp2"]
)
def test_a_run_of_two_processes_that_was_cut_ends_with_the_same_bytes(
    flags: dict[str, Any], recipe: Callable[..., Recipe]
) -> None:
    """One of the two hears the signal, both stop. With dropout each draws from a generator."""
    flags = flags | {"lora_dropout": 0.1}
    whole = as_launched(2, train, recipe("whole", **flags))
    cut = cut_after(2, "1", recipe("cut", **flags))
    resumed = as_launched(2, train, recipe("cut", resume_from_checkpoint=cut, **flags))
    for name in (ADAPTER, "optimizer.safetensors"):
        assert (Path(resumed[0]) / name).read_bytes() == (Path(whole[0]) / name).read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes_if_its_updates_stay_the_same(
    recipe: Callable[..., Recipe],
) -> None:
    """Two processes of one row and two in turn are four rows an update; so is one of four."""
    whole = as_launched(2, train, recipe("whole"))[0]
    cut = cut_after(1, "0", recipe("cut"))
    with pytest.raises(InputError, match="the rows of an update are not what they were"):
        train(recipe("other", resume_from_checkpoint=cut))
    flags = {"resume_from_checkpoint": cut, "gradient_accumulation_steps": 4}
    alone = load_file(Path(train(recipe("other", **flags))) / ADAPTER)
    both = load_file(Path(whole) / ADAPTER)
    assert max(np.abs(alone[name] - both[name]).max() for name in both) < 1e-5


def test_a_failure_in_one_process_is_one_line_and_ends_both(
    tmp_path: Path, recipe: Callable[..., Recipe]
) -> None:
    def command() -> tuple[int, str]:
        rank = os.environ["RANK"]
        os.environ[ERROR_FILE] = str(tmp_path / "failures" / rank / "error.json")
        if rank == "1":
            Training.accumulate = broken  # type: ignore[method-assign]
        flags = recipe("output").to_json()
        words = [f"--{name}={flags[name]}" for name in ("model", "torch_dtype", "output_dir")]
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main(["sft", *words, "--dataset", flags["dataset"][0]])
        return code, "".join(line for line in said.getvalue().splitlines() if "selfhood:" in line)

    first, second = as_launched(2, command)
    assert first == (1, "")
    assert second == (1, "selfhood: here: broken")


def broken(self: Training, samples: Sequence[Sample]) -> UpdateSums:
    raise SelfhoodError("broken", where="here")
