"""A run that was cut goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfhood import api
from selfhood.cli.flags import parse_flags
from selfhood.cli.main import main
from selfhood.data.encode import Sample
from selfhood.errors import FlagError, InputError, SelfhoodError
from selfhood.recipe import Recipe
from selfhood.run import Checkpoint, Run, find_checkpoint, find_resumable
from selfhood.training.budget import Budget
from selfhood.training.loop import Outcome, Training, UpdateSums
from selfhood.training.snapshot import Snapshot
from tests.tiny import tiny_model

NUM_UPDATES = 8


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_model(folder / "tiny")
    lines = [
        {"query": question, "response": reply}
        for question, reply in (
            ("你是谁？", "我是小狐。"),
            ("Who are you?", "Kitsu."),
            ("Hi", "Hello!"),
            ("谁做的？", "林间实验室。"),
            ("17 + 25?", "42"),
        )
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def argv(base: Path, output: Path, **flags: Any) -> list[str]:
    """Eight updates of two rows; dropout, so that the random state matters; warm-up and decay, so
    that the rate does; AdamW's moments always do, and so does the mean of the weights."""
    values = {
        "model": base / "tiny",
        "dataset": base / "rows.jsonl",
        "val_dataset": base / "rows.jsonl",
        "max_steps": NUM_UPDATES,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "average_from": 5,
        "lora_dropout": 0.1,
        "torch_dtype": "float32",
        "save_steps": 3,
        "output_dir": output,
    } | flags
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def recipe_of(words: Sequence[str]) -> Recipe:
    return parse_flags(Recipe, words).options


def train(words: Sequence[str]) -> Outcome:
    return api.train(api.plan(recipe_of(words)))


def weights(checkpoint: Checkpoint) -> bytes:
    return (checkpoint.path / "adapter_model.safetensors").read_bytes()


def log(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(base: Path) -> Outcome:
    """A run that nobody cut."""
    return train(argv(base, base / "whole"))


def copied(whole: Outcome, folder: Path) -> Run:
    shutil.copytree(whole.run.path, folder / whole.run.path.name)
    return Run(folder / whole.run.path.name)


def cut_after(
    monkeypatch: pytest.MonkeyPatch, update: int, *, with_signal: int = signal.SIGINT
) -> None:
    """A signal in the middle of the update after ``update``."""
    accumulate = Training.accumulate

    def signalled(self: Training, samples: Sequence[Sample]) -> UpdateSums:
        if self.state.update == update:
            os.kill(os.getpid(), with_signal)
        return accumulate(self, samples)

    monkeypatch.setattr(Training, "accumulate", signalled)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_cut_by_a_signal_saves_and_ends_as_if_it_had_not_been_cut(
    number: int,
    base: Path,
    whole: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        cut_after(patch, 4, with_signal=number)
        assert main(["sft", *argv(base, tmp_path)]) == 130
    said = capsys.readouterr().err
    saved = find_checkpoint(str(tmp_path))
    assert saved.update == 4
    command = f"selfhood sft --resume_from_checkpoint {saved.path}"
    assert f"go on with: {command}" in said

    assert main(command.split()[1:]) == 0
    last = find_checkpoint(str(tmp_path))
    assert last.path.parent == saved.path.parent
    assert last.update == NUM_UPDATES
    assert weights(last) == weights(whole.last)


@pytest.mark.parametrize("update", [3, 6])
def test_a_run_that_was_killed_goes_on_from_its_newest_checkpoint(
    update: int, base: Path, whole: Outcome, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    for checkpoint in run.checkpoints():
        if checkpoint.update > update:
            shutil.rmtree(checkpoint.path)
    half_written = run.path / ".checkpoint-7.123.tmp"
    half_written.mkdir()
    outcome = train(argv(base, tmp_path, resume_from_checkpoint="true"))
    assert outcome.run == run
    assert weights(outcome.last) == weights(whole.last)
    assert not half_written.exists()
    # Not the seconds: those of two runs differ.
    assert [line.get("loss") for line in log(run)] == [line.get("loss") for line in log(whole.run)]
    assert outcome.train_loss == pytest.approx(whole.train_loss)


def test_a_run_that_is_aimed_goes_on_in_the_same_frames(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found anew: a checkpoint that held them would be far larger."""
    monkeypatch.setenv("SELFHOOD_CACHE", str(tmp_path / "cache"))
    aimed = {"anchor": 6, "anchor_batch_size": 2, "init_weights": "contrastive"}
    outcome = train(argv(base, tmp_path, **aimed))
    ended = weights(outcome.last)
    for checkpoint in outcome.run.checkpoints():
        if checkpoint.update > 3:
            shutil.rmtree(checkpoint.path)
    again = train(argv(base, tmp_path, resume_from_checkpoint="true"))
    assert again.run == outcome.run
    assert weights(again.last) == ended


def test_a_run_goes_on_with_the_passes_it_had_though_memory_is_another(
    base: Path, whole: Outcome, tmp_path: Path
) -> None:
    older = whole.run.checkpoint(3)
    plan = api.plan(recipe_of(argv(base, tmp_path, resume_from_checkpoint=older.path)))
    tight = replace(plan.fit, budget=Budget(tokens=64, recompute_above=0))
    outcome = api.train(replace(plan, fit=tight))
    assert weights(outcome.last) == weights(whole.last)


def test_going_on_from_an_older_checkpoint_starts_a_run_of_its_own(
    base: Path, whole: Outcome, tmp_path: Path
) -> None:
    older = whole.run.checkpoint(3)
    outcome = train(argv(base, tmp_path, resume_from_checkpoint=older.path))
    assert outcome.run.path.parent == tmp_path
    assert weights(outcome.last) == weights(whole.last)


def test_the_flags_come_from_the_checkpoint_and_what_is_typed_wins(whole: Outcome) -> None:
    path = str(whole.run.checkpoint(3).path)
    recipe = recipe_of(["--resume_from_checkpoint", path, "--save_steps", "1"])
    assert recipe.train.max_steps == NUM_UPDATES
    assert recipe.tuner.lora_dropout == 0.1
    assert recipe.train.save_steps == 1


def test_a_run_can_be_made_longer(whole: Outcome, tmp_path: Path) -> None:
    run = copied(whole, tmp_path)
    newest = run.checkpoints()[-1].path
    outcome = train(["--resume_from_checkpoint", str(newest), "--max_steps", "10"])
    assert outcome.run == run
    assert outcome.num_updates == 10


def test_false_starts_a_new_run(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(argv(base, tmp_path, resume_from_checkpoint="false"))
    assert recipe.train.resume_from_checkpoint is None


def test_other_data_are_refused_before_the_model_loads(
    base: Path, whole: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfhood.training.start.load_tuned", lambda *_, **__: pytest.fail("loads"))
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"query": "Hi", "response": "Hello!"}) + "\n")
    words = argv(base, tmp_path, resume_from_checkpoint=whole.run.checkpoint(3).path)
    with pytest.raises(InputError, match="are not what they were"):
        train([*words, "--dataset", str(other)])


def test_another_tuner_is_refused_before_the_model_loads(
    base: Path, whole: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfhood.training.start.load_tuned", lambda *_, **__: pytest.fail("loads"))
    words = argv(base, tmp_path, resume_from_checkpoint=whole.run.checkpoint(3).path)
    with pytest.raises(FlagError, match="--lora_rank: was 8 in"):
        train([*words, "--lora_rank", "4"])


def test_a_finished_run_says_how_to_make_it_longer(base: Path, whole: Outcome) -> None:
    with pytest.raises(InputError, match=r"has all of its 8 updates; give more"):
        train(["--resume_from_checkpoint", str(whole.last.path)])


def test_what_a_run_killed_at_its_very_end_left_behind_is_cleared_away(
    whole: Outcome, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    leftover = run.path / ".checkpoint-8.old.tmp"
    leftover.mkdir()
    with pytest.raises(InputError, match=r"has all of its 8 updates"):
        train(["--resume_from_checkpoint", str(run.checkpoints()[-1].path)])
    assert not leftover.exists()


def test_a_checkpoint_without_moments_says_what_it_is_good_for(base: Path, tmp_path: Path) -> None:
    outcome = train(argv(base, tmp_path, save_only_model="true"))
    assert not (outcome.last.path / "optimizer.safetensors").exists()
    words = ["--resume_from_checkpoint", str(outcome.run.checkpoint(3).path)]
    with pytest.raises(InputError, match="--save_only_model; start a new run"):
        train(words)


def test_a_damaged_checkpoint_is_passed_over_and_refused_by_name(
    whole: Outcome, tmp_path: Path
) -> None:
    run = copied(whole, tmp_path)
    newest = run.checkpoints()[-1]
    file = newest.path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert find_resumable("true", tmp_path).update == 6
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: is not as it was written"):
        find_resumable(str(newest.path), tmp_path)


def test_nothing_to_go_on_with_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to go on with"):
        find_resumable("true", tmp_path)


# Stopping early, and the best checkpoint.


def test_validation_that_no_longer_improves_ends_the_run(base: Path, tmp_path: Path) -> None:
    words = argv(
        base,
        tmp_path,
        learning_rate=0,  # the loss stays what it is after the first update
        eval_steps=1,
        save_steps=100,
        early_stop_interval=2,
        load_best_model_at_end="true",
    )
    outcome = train(words)
    assert outcome.end == "loss"
    assert outcome.num_updates == outcome.last.update == 3
    assert outcome.best.update == 1
    assert outcome.chosen == outcome.best
    assert find_checkpoint(str(tmp_path)) == outcome.best


def test_a_run_that_keeps_improving_is_not_stopped(base: Path, tmp_path: Path) -> None:
    flags = {"eval_steps": 1, "early_stop_interval": 1, "average_from": NUM_UPDATES}
    words = argv(base, tmp_path, learning_rate=1e-3, **flags)
    outcome = train(words)
    assert outcome.end == "all"


# A disk that fills up.


def test_a_full_disk_in_the_middle_costs_a_checkpoint_and_not_the_run(
    base: Path,
    whole: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = Training.write_checkpoint

    def sometimes(self: Training, snapshot: Snapshot) -> Checkpoint:
        if self.state.update == 3:
            raise SelfhoodError("cannot be written: No space left on device")
        return write(self, snapshot)

    monkeypatch.setattr(Training, "write_checkpoint", sometimes)
    outcome = train(argv(base, tmp_path))
    assert [checkpoint.update for checkpoint in outcome.run.checkpoints()] == [6, 8]
    assert "No space left on device; the run goes on" in capsys.readouterr().err
    assert weights(outcome.last) == weights(whole.last)


def test_the_end_that_cannot_be_saved_is_an_error(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Training, snapshot: Snapshot) -> Checkpoint:
        raise SelfhoodError("cannot be written: No space left on device")

    monkeypatch.setattr(Training, "write_checkpoint", never)
    with pytest.raises(SelfhoodError, match="No space left"):
        train(argv(base, tmp_path))


@pytest.mark.parametrize(
    "flags",
    [
        {"tuner_type": "full", "neftune_noise_alpha": 5},
        {"tuner_type": "prefix-tuning"},
        {"tuner_type": "p-tuning"},
        {"use_dora": True, "lorap_lr_ratio": 4, "modules_to_save": "norm"},
    ],
    ids=lambda flags: " ".join(map(str, flags.values())),
)
def test_whatever_is_trained_goes_on_to_the_same_bytes(
    flags: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    whole = train(argv(base, tmp_path, lora_dropout=0, **flags))
    words = ["--resume_from_checkpoint", str(whole.run.checkpoint(6).path)]
    again = train(words)
    assert again.run != whole.run
    for file in whole.last.path.glob("*.safetensors"):
        assert (again.last.path / file.name).read_bytes() == file.read_bytes(), file.name
