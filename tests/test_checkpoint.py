"""Checkpoints are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfhood.errors import SelfhoodError
from selfhood.files import read_json
from selfhood.model.adapters import load_adapter, trainable
from selfhood.recipe import Recipe
from selfhood.run import Checkpoint, Run
from selfhood.training import checkpoint as checkpoints
from selfhood.training.budget import Budget
from selfhood.training.checkpoint import TrainState, prune, save
from selfhood.training.loop import Training
from tests.tiny import tiny_network
from tests.tiny_training import row, tiny_training

NUM_KILLS = 12


def state(update: int) -> TrainState:
    return TrainState(
        update=update,
        epoch=1.0,
        loss_sum=1.0,
        best_update=None,
        best_eval_loss=None,
        num_worse=0,
        data="",
        budget=Budget(tokens=256),
    )


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return tiny_training(tmp_path, [row("你是谁？", "我是小狐。")])


def save_once(training: Training, update: int = 1) -> Checkpoint:
    return save(
        training.run,
        training.loaded,
        training.recipe,
        state(update),
        training.take_snapshot(),
    )


def assert_whole(checkpoint: Checkpoint) -> None:
    weights = load_file(checkpoint.path / "adapter_model.safetensors")
    assert weights
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    assert read_json(checkpoint.path / "adapter_config.json")["peft_type"] == "LORA"
    assert read_json(checkpoint.path / "trainer_state.json")["update"] == checkpoint.update
    Recipe.from_values(checkpoint.args())
    checkpoint.check()


def test_a_checkpoint_gives_back_the_adapter(training: Training) -> None:
    checkpoint = save_once(training)
    assert_whole(checkpoint)
    again = load_adapter(tiny_network(), checkpoint.path)
    restored = dict(again.named_parameters())
    for name, weight in trainable(training.loaded.model):
        assert torch.equal(restored[name], weight)


def test_a_checkpoint_holds_no_pickles_and_no_card_with_local_paths(training: Training) -> None:
    names = {path.name for path in save_once(training).path.iterdir()}
    assert names >= {"adapter_model.safetensors", "adapter_config.json", "args.json"}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".md"))}


def test_saving_asks_no_network(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """peft would look the base model up on the hub, at every save."""
    training.loaded.model.peft_config["default"].base_model_name_or_path = "Qwen/Qwen2.5-7B"
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up a host"))
    assert_whole(save_once(training))


def test_an_error_while_writing_leaves_nothing_and_keeps_older_ones(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_once(training, 1)

    def fail(*_: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(checkpoints, "write_json", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        save_once(training, 2)
    assert [path.name for path in training.run.path.iterdir()] == ["checkpoint-1"]


def test_saving_the_same_update_again_replaces_it(training: Training) -> None:
    save_once(training)
    with torch.no_grad():
        training.weights[0].fill_(7)
    checkpoint = save_once(training)
    assert_whole(checkpoint)
    weights = load_file(checkpoint.path / "adapter_model.safetensors")
    assert any(bool((weight == 7).all()) for weight in weights.values())
    assert [path.name for path in training.run.path.iterdir()] == ["checkpoint-1"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(training: Training, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(SelfhoodError, match="cannot be written: Not a directory") as caught:
        save_once(training)
    assert "\n" not in str(caught.value)


def in_child(work: Callable[[], None]) -> multiprocessing.process.BaseProcess:
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    return child


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_full_disk_is_one_clear_line_and_keeps_older_checkpoints(
    training: Training, tmp_path: Path
) -> None:
    save_once(training, 1)

    def on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        try:
            save_once(training, 2)
        except SelfhoodError as error:
            (tmp_path / "said").write_text(str(error))

    child = in_child(on_a_full_disk)
    child.join()
    assert "cannot be written" in (tmp_path / "said").read_text()
    assert "\n" not in (tmp_path / "said").read_text()
    assert [path.name for path in training.run.path.iterdir()] == ["checkpoint-1"]
    assert_whole(training.run.checkpoint(1))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_run_killed_at_any_moment_leaves_only_whole_checkpoints(training: Training) -> None:
    generator = random.Random(0)
    newest = 0

    def save_forever() -> None:
        for update in range(newest + 1, 10_000):
            save_once(training, update)
            prune(training.run, keep=3, spare=None)

    for _ in range(NUM_KILLS):
        child = in_child(save_forever)
        time.sleep(generator.uniform(0.02, 0.25))
        child.kill()
        child.join()
        found = training.run.checkpoints()
        for checkpoint in found:
            assert_whole(checkpoint)
        assert not found or found[-1].update >= newest
        newest = found[-1].update if found else newest
    assert newest > 2


def fill(run: Run, *updates: int) -> None:
    for update in updates:
        folder = run.checkpoint(update).path
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps({}))


@pytest.mark.parametrize(
    ("keep", "spare", "kept"),
    [
        (1, None, [4]),
        (2, None, [3, 4]),
        (9, None, [1, 2, 3, 4]),
        (1, 2, [2, 4]),
        (2, 1, [1, 4]),
        (2, 4, [3, 4]),
        (3, 2, [2, 3, 4]),
    ],
)
def test_the_limit_counts_the_best_and_spares_it_and_the_newest(
    keep: int, spare: int | None, kept: list[int], tmp_path: Path
) -> None:
    run = Run(tmp_path)
    fill(run, 1, 2, 3, 4)
    prune(run, keep=keep, spare=spare)
    assert [checkpoint.update for checkpoint in run.checkpoints()] == kept
    assert {path.name for path in tmp_path.iterdir()} == {f"checkpoint-{n}" for n in kept}
