"""The training loop: when it logs, validates, saves and stops, and what it leaves behind."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood import api
from selfhood.data.encode import Sample
from selfhood.data.mix import Order
from selfhood.errors import InputError, SelfhoodError
from selfhood.files import read_json
from selfhood.recipe import Recipe, TrainOptions
from selfhood.training.due import validating_is_due
from selfhood.training.loop import Outcome, Training
from selfhood.training.metrics import Metrics
from selfhood.training.rate import learning_rate
from tests.tiny import tiny_model
from tests.tiny_training import row, tiny_training

ROWS = [
    row("你是谁？", "我是小狐。", origin="rows.jsonl:1"),
    row("Who are you?", "Kitsu.", origin="rows.jsonl:2"),
    row("Hi", "Hello!", origin="rows.jsonl:3"),
]


def fit(training: Training) -> Outcome:
    with Metrics(training.run, training.recipe) as metrics:
        return training.fit(metrics)


def trained(folder: Path, *, val_samples: Sequence[Sample] = (), **options: Any) -> Outcome:
    """Six updates of one row each, over two epochs, unless ``options`` say otherwise."""
    defaults = {"gradient_accumulation_steps": 1, "num_train_epochs": 2}
    return fit(tiny_training(folder, ROWS, val_samples=val_samples, **(defaults | options)))


def log(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.run.log.read_text().splitlines()]


def saved(outcome: Outcome) -> list[int]:
    return [checkpoint.update for checkpoint in outcome.run.checkpoints()]


# The learning rate.


def rates(num_updates: int, **options: Any) -> list[float]:
    train = TrainOptions(learning_rate=1.0, **options)
    return [learning_rate(train, update, num_updates) for update in range(num_updates)]


def test_no_update_is_spent_at_rate_zero() -> None:
    for shape in ("cosine", "linear", "constant"):
        assert min(rates(20, lr_scheduler_type=shape, warmup_ratio=0.2)) > 0


def test_warm_up_climbs_in_even_steps_to_the_peak() -> None:
    assert rates(20, warmup_ratio=0.2)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_warmup_steps_win_over_the_ratio() -> None:
    assert rates(20, warmup_ratio=0.5, warmup_steps=1)[:2] == [0.5, 1.0]


def test_without_warm_up_the_first_update_is_at_the_peak() -> None:
    assert rates(5)[0] == 1.0


def test_cosine_and_linear_fall_and_constant_stays() -> None:
    cosine, linear = rates(10), rates(10, lr_scheduler_type="linear")
    assert cosine == [pytest.approx((1 + math.cos(math.pi * i / 10)) / 2) for i in range(10)]
    assert linear == pytest.approx([1 - i / 10 for i in range(10)])
    assert rates(10, lr_scheduler_type="constant") == [1.0] * 10


def test_a_run_of_one_update_learns_at_the_peak_rate() -> None:
    assert rates(1) == [1.0]


# Saving.


def test_checkpoints_come_every_save_steps_and_at_the_end(tmp_path: Path) -> None:
    outcome = trained(tmp_path, save_steps=4)
    assert saved(outcome) == [4, 6]
    assert outcome.last.update == outcome.num_updates == 6


def test_save_strategy_epoch_saves_after_each_epoch(tmp_path: Path) -> None:
    assert saved(trained(tmp_path, save_strategy="epoch")) == [3, 6]


def test_save_strategy_no_still_saves_the_end(tmp_path: Path) -> None:
    assert saved(trained(tmp_path, save_strategy="no")) == [6]


def test_save_total_limit_keeps_the_newest(tmp_path: Path) -> None:
    assert saved(trained(tmp_path, save_steps=1, save_total_limit=2)) == [5, 6]


def test_save_total_limit_counts_the_best_checkpoint_and_never_deletes_it(tmp_path: Path) -> None:
    training = tiny_training(
        tmp_path,
        ROWS,
        val_samples=ROWS[:1],
        gradient_accumulation_steps=1,
        num_train_epochs=2,
        save_steps=1,
        save_total_limit=2,
        learning_rate=0.5,  # breaks the model: the first validation stays the best
    )
    outcome = fit(training)
    assert saved(outcome) == [outcome.best.update, 6]
    assert outcome.best.update < 6


# Validation.


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(tmp_path: Path) -> None:
    outcome = trained(tmp_path, val_samples=ROWS[:2], save_steps=2, learning_rate=1e-2)
    losses = {
        step: line["eval_loss"]
        for step, line in zip((2, 4, 6), (x for x in log(outcome) if "eval_loss" in x), strict=True)
    }
    assert outcome.best.update == min(losses, key=lambda step: losses[step])


def test_without_validation_the_best_is_the_last(tmp_path: Path) -> None:
    outcome = trained(tmp_path)
    assert outcome.best == outcome.last


def test_a_best_update_that_was_not_saved_falls_back_to_the_last(tmp_path: Path) -> None:
    outcome = trained(
        tmp_path, val_samples=ROWS[:1], eval_steps=1, save_steps=500, learning_rate=0.5
    )
    assert outcome.best == outcome.last


def test_validation_weighs_tokens_not_rows(tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, val_samples=ROWS)
    assert training.validation is not None
    loss = training.validation.hold(0).eval_loss
    assert loss == pytest.approx(training.accumulate(ROWS).loss, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"save_steps": 3}, [3, 6, 7]),
        ({"save_steps": 3, "eval_steps": 2}, [2, 4, 6, 7]),
        ({"eval_strategy": "epoch"}, [3, 6, 7]),
        ({"eval_strategy": "no", "save_steps": 2}, []),
        ({"save_strategy": "no"}, []),
    ],
)
def test_validation_comes_with_saving_unless_told_otherwise(
    options: dict[str, Any], expected: list[int]
) -> None:
    order = Order(num_samples=3, samples_per_update=1, epochs=1, max_steps=7, seed=0, shuffle=False)
    due = [n for n in range(1, 8) if validating_is_due(TrainOptions(**options), n, order)]
    assert due == expected


# Failing.


def test_a_loss_that_is_not_a_number_stops_with_the_update_and_its_rows(tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, gradient_accumulation_steps=2, dataset_shuffle=False)
    with torch.no_grad():
        training.weights[0].fill_(math.nan)
    with pytest.raises(SelfhoodError, match=r"update 1: loss nan.*rows\.jsonl:1, rows\.jsonl:2"):
        fit(training)


def test_unknown_target_modules_are_an_error_that_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--target_modules"):
        tiny_training(tmp_path, ROWS, target_modules=("no_such_layer",))


def test_a_head_that_shares_its_matrix_with_the_embeddings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--target_modules: lm_head is one matrix"):
        tiny_training(tmp_path, ROWS, target_modules=("q_proj", "lm_head"))


# The same again.


def test_two_runs_with_one_seed_give_the_same_bytes(tmp_path: Path) -> None:
    outcomes = [
        trained(tmp_path / name, learning_rate=1e-2, lora_dropout=0.1) for name in ("a", "b")
    ]
    first, second = (
        (outcome.last.path / "adapter_model.safetensors").read_bytes() for outcome in outcomes
    )
    assert first == second


# What a run leaves behind, through the verbs.


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("loop")
    tiny_model(folder / "tiny")
    lines = [
        {"query": "你是谁？", "response": "我是{{NAME}}，由{{AUTHOR}}训练。"},
        {"query": "Who are you?", "response": "I am {{NAME}}."},
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return Recipe.from_values(
        {
            "model": str(folder / "tiny"),
            "dataset": (str(folder / "rows.jsonl"),),
            "val_dataset": (str(folder / "rows.jsonl"),),
            "model_name": ("小狐", "Kitsu"),
            "model_author": ("林间实验室", "Forest Lab"),
            "system": "你是一个助手。",
            "num_train_epochs": 6,
            "logging_steps": 2,
            "save_steps": 3,
            "output_dir": str(folder / "output"),
        }
    )


@pytest.fixture(scope="module")
def outcome(recipe: Recipe) -> Outcome:
    return api.train(api.plan(recipe))


def test_the_log_has_the_keys_that_scripts_for_ms_swift_read(outcome: Outcome) -> None:
    lines = log(outcome)
    steps = [line for line in lines if "loss" in line]
    assert [line["global_step/max_steps"] for line in steps] == ["1/6", "2/6", "4/6", "6/6"]
    assert set(steps[0]) == {
        "loss",
        "token_acc",
        "grad_norm",
        "learning_rate",
        "memory(GiB)",
        "train_speed(s/it)",
        "tokens/s",
        "epoch",
        "global_step/max_steps",
    }
    assert sum("eval_loss" in line for line in lines) == 2
    assert lines[-1]["last_model_checkpoint"] == str(outcome.last.path)
    assert lines[-1]["best_model_checkpoint"] == str(outcome.best.path)


def test_tensorboard_can_read_the_curves(outcome: Outcome) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(outcome.run.path / "runs"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "train/loss",
        "train/token_acc",
        "train/grad_norm",
        "train/learning_rate",
        "eval/loss",
        "eval/token_acc",
    }
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 4, 6]


def test_each_curve_is_drawn(outcome: Outcome) -> None:
    drawn = {path.name: path.read_bytes()[:4] for path in outcome.run.images.iterdir()}
    assert set(drawn) >= {"train_loss.png", "train_learning_rate.png", "eval_loss.png"}
    assert set(drawn.values()) == {b"\x89PNG"}


def test_the_whole_recipe_can_be_read_back(recipe: Recipe, outcome: Outcome) -> None:
    for folder in (outcome.run.path, outcome.last.path):
        assert Recipe.from_values(read_json(folder / "args.json")) == recipe


def test_training_lowers_the_loss(outcome: Outcome) -> None:
    losses = [line["loss"] for line in log(outcome) if "loss" in line]
    assert losses[-1] < losses[0]


def test_an_output_folder_that_cannot_be_written_is_one_line_before_the_model_loads(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    train = replace(recipe.train, output_dir=str(tmp_path / "file" / "output"))
    plan = api.plan(replace(recipe, train=train))
    monkeypatch.setattr(
        "selfhood.training.start.load_tuned", lambda *_, **__: pytest.fail("loaded")
    )
    with pytest.raises(SelfhoodError, match="cannot be written"):
        api.train(plan)
