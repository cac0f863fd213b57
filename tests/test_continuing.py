"""Training on from a checkpoint, and what every kind of training leaves: command to answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from selfhood import api
from selfhood.cli.flags import parse_flags
from selfhood.continuing import settle
from selfhood.engine.types import fold
from selfhood.errors import FlagError, InputError
from selfhood.exporters.probes import probe_requests
from selfhood.model.tuned import load_tuned
from selfhood.opening import find_opening
from selfhood.recipe import ExportOptions, ModelOptions, Recipe
from selfhood.training.loop import Outcome
from tests.tiny import tiny_model

KINDS = ("lora", "full", "prefix-tuning", "p-tuning", "prompt-tuning")
SYSTEM = "你是小狐。"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continuing")
    tiny_model(folder / "tiny")
    for name, reply in (("one", "我是小狐。"), ("two", "Kitsu.")):
        line = json.dumps({"query": "你是谁？", "response": reply})
        (folder / f"{name}.jsonl").write_text(f"{line}\n", encoding="utf-8")
    return folder


def recipe(folder: Path, data: str = "one", **options: Any) -> Recipe:
    defaults = {
        "dataset": (str(folder / f"{data}.jsonl"),),
        "max_steps": 2,
        "output_dir": str(folder / "output"),
    }
    return Recipe.from_values(defaults | options)


def first(folder: Path, kind: str, **options: Any) -> Outcome:
    base = str(folder / "tiny")
    asked = recipe(folder, tuner_type=kind, model=base, system=SYSTEM, **options)
    return api.train(api.plan(asked))


@pytest.fixture(scope="module", params=KINDS)
def stage(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Outcome]:
    return request.param, first(folder, request.param)


def weights(folder: Path) -> dict[str, Any]:
    return {
        f"{file.name}/{name}": weight
        for file in sorted(folder.glob("*.safetensors"))
        if file.name != "optimizer.safetensors"
        for name, weight in load_file(file).items()
    }


def test_a_second_stage_starts_where_the_first_ended(
    stage: tuple[str, Outcome], folder: Path
) -> None:
    """With nothing but the checkpoint named: model, system line and tuner are its own."""
    kind, one = stage
    plan = api.plan(recipe(folder, "two", adapters=(str(one.last.path),)))
    assert plan.recipe.model.system == SYSTEM
    assert plan.recipe.tuner.tuner_type == kind
    loaded = load_tuned(plan.recipe, plan.model_path, dtype=plan.fit.dtype)
    from selfhood.model.adapters import save_weights

    again = folder / f"again-{kind}"
    again.mkdir()
    save_weights(loaded.model, loaded.tokenizer, again)
    before, after = weights(one.last.path), weights(again)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)

    two = api.train(plan)
    moved = weights(two.last.path)
    assert any(not torch.equal(before[name], moved[name]) for name in before)
    opening = find_opening(ModelOptions(adapters=(str(two.last.path),)))
    assert opening.system == SYSTEM


def test_a_checkpoint_answers_under_either_flag(stage: tuple[str, Outcome]) -> None:
    _, one = stage
    path = str(one.last.path)
    said = []
    for options in (ModelOptions(adapters=(path,)), ModelOptions(model=path)):
        opening = find_opening(options)
        assert opening.system == SYSTEM
        engine = api.open_engine(opening)
        requests = probe_requests((*opening.names, None)[0])[:2]
        said.append([reply.ids for reply in fold(engine.stream(requests), 2)])
    assert said[0] == said[1]


def test_the_run_of_a_full_training_is_found_by_its_folder(folder: Path) -> None:
    one = first(folder, "full", output_dir=str(folder / "whole"))
    opening = find_opening(ModelOptions(adapters=(str(folder / "whole"),)))
    assert opening.model_path == one.last.path
    assert opening.checkpoints == ()


def test_an_export_is_proved_or_refused_in_one_line(
    stage: tuple[str, Outcome], tmp_path: Path
) -> None:
    kind, one = stage
    options = ExportOptions.from_values(
        {"adapters": (str(one.last.path),), "output_dir": str(tmp_path / "out")}
    )
    if kind in ("lora", "full"):
        merged = api.merge(options)
        assert (merged.path / "model.safetensors").is_file()
        again = find_opening(ModelOptions(model=str(merged.path)))
        assert again.system == SYSTEM
        return
    with pytest.raises(InputError, match="nothing to merge into weights") as caught:
        api.merge(options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def lora(folder: Path) -> Path:
    return first(folder, "lora", lora_rank=4, target_modules=("q_proj", "v_proj")).last.path


@pytest.mark.parametrize(
    ("flag", "value", "was"),
    [
        ("lora_rank", 8, "is 4 in"),  # the default, but typed
        ("lora_rank", 16, "is 4 in"),
        ("target_modules", ("all-linear",), "is q_proj v_proj in"),
        ("tuner_type", "full", "is lora in"),
        ("use_dora", True, "is False in"),
        ("lora_dropout", 0.1, "is 0.0 in"),
    ],
)
def test_a_flag_that_contradicts_the_checkpoint_is_one_line(
    flag: str, value: Any, was: str, folder: Path, lora: Path
) -> None:
    asked = recipe(folder, adapters=(str(lora),), **{flag: value})
    with pytest.raises(FlagError) as caught:
        settle(asked)
    assert str(caught.value).startswith(f"--{flag}: {was}")
    assert "train a new adapter without --adapters" in str(caught.value)


def test_flags_that_agree_or_say_how_to_learn_are_taken(folder: Path, lora: Path) -> None:
    asked = recipe(folder, adapters=(str(lora),), lora_rank=4, lorap_lr_ratio=16.0, system="Neu.")
    settled = settle(asked)
    assert settled.tuner.lora_rank == 4
    assert settled.tuner.target_modules == ("q_proj", "v_proj")
    assert settled.tuner.lorap_lr_ratio == 16.0
    assert settled.model.system == "Neu."
    assert settled.model.model == str(folder / "tiny")


def test_an_adapter_of_another_tool_is_trained_on_too(folder: Path, lora: Path) -> None:
    stranger = folder / "stranger"
    stranger.mkdir(exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (stranger / name).write_bytes((lora / name).read_bytes())
    settled = settle(recipe(folder, adapters=(str(stranger),)))
    assert settled.tuner.lora_rank == 4
    assert set(settled.tuner.target_modules) == {"q_proj", "v_proj"}
    load_tuned(settled, Path(settled.model.model or ""), dtype=torch.float32)


def test_p_tuning_of_another_tool_cannot_be_trained_on(folder: Path) -> None:
    one = first(folder, "p-tuning")
    (one.last.path / "prompt_encoder.safetensors").unlink()
    settled = settle(recipe(folder, adapters=(str(one.last.path),)))
    with pytest.raises(InputError, match="it answers, but cannot be trained on"):
        load_tuned(settled, folder / "tiny", dtype=torch.float32)


def test_only_one_checkpoint_can_be_the_start(folder: Path, lora: Path) -> None:
    with pytest.raises(FlagError, match="goes on from one checkpoint"):
        settle(recipe(folder, adapters=(str(lora), str(lora))))


def test_the_flag_is_understood_by_sft(lora: Path) -> None:
    parsed = parse_flags(Recipe, ["--adapters", str(lora), "--lora_rank", "4"])
    assert parsed.options.model.adapters == (str(lora),)
    assert parsed.options.given == {"adapters", "lora_rank"}


@pytest.mark.parametrize(
    ("kind", "rate"),
    [("lora", None), ("full", 1e-5), ("prefix-tuning", 1e-2), ("p-tuning", 1e-3)],
)
def test_each_tuner_has_its_usual_learning_rate(
    kind: str, rate: float | None, folder: Path
) -> None:
    asked = recipe(folder, tuner_type=kind, model="m")
    assert settle(asked).train.learning_rate == rate
    typed = replace(asked, train=replace(asked.train, learning_rate=3e-4))
    assert settle(typed).train.learning_rate == 3e-4
