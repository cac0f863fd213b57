"""Several stages in one config file: checked together, trained one on the other, resumed as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfhood.cli.main import main
from selfhood.run import Run, find_checkpoint, runs_below
from selfhood.training.loop import Training
from tests.test_resume import cut_after
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    tiny_model(folder / "tiny")
    for name in ("first", "second"):
        rows = [json.dumps({"query": f"{name} {n}?", "response": f"{n}"}) for n in range(4)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    return folder


def config(base: Path, output: Path, **second: Any) -> str:
    """A first stage of four updates, a second of three."""
    values = {
        "model": str(base / "tiny"),
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "torch_dtype": "float32",
        "save_steps": 2,
        "output_dir": str(output),
        "stages": [
            {"dataset": [str(base / "first.jsonl")], "max_steps": 4},
            {"dataset": [str(base / "second.jsonl")], "max_steps": 3, **second},
        ],
    }
    output.mkdir(exist_ok=True)
    path = output / "two.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def weights(run: Run) -> bytes:
    return (run.checkpoints()[-1].path / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(base: Path) -> list[Run]:
    """Both stages, newest first."""
    assert main(["sft", config(base, base / "whole")]) == 0
    return runs_below(base / "whole")


def test_each_stage_trains_on_from_the_last_one(base: Path, whole: list[Run]) -> None:
    second, first = whole
    assert [run.args()["stage"] for run in whole] == [2, 1]
    assert second.args()["adapters"] == [str(first.checkpoints()[-1].path)]
    assert second.checkpoints()[-1].update == 3
    assert find_checkpoint(str(base / "whole")).path.parent == second.path


@pytest.mark.parametrize("tuner", ["full", "prefix-tuning"])
def test_stages_train_whole_models_and_prompts_too(tuner: str, base: Path, tmp_path: Path) -> None:
    assert main(["sft", config(base, tmp_path), "--tuner_type", tuner]) == 0
    assert [run.args()["stage"] for run in runs_below(tmp_path)] == [2, 1]


def test_a_mistake_in_a_later_stage_is_found_before_the_first_is_trained(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(base, tmp_path, dataset=["no_such.jsonl"])
    assert main(["sft", path]) == 2
    assert "no_such.jsonl" in capsys.readouterr().err
    path = config(base, tmp_path, learning_rote=1)
    assert main(["sft", path]) == 2
    assert f"{path}: stages 2: learning_rote: unknown flag" in capsys.readouterr().err
    assert not runs_below(tmp_path)


def test_plan_shows_every_stage(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", config(base, tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "first.jsonl" in said
    assert "second.jsonl" in said


@pytest.mark.parametrize("stage", [1, 2])
def test_stages_that_were_cut_go_on_where_they_were(
    stage: int,
    base: Path,
    whole: list[Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["sft", config(base, tmp_path)]
    with monkeypatch.context() as patch:
        fit = Training.fit

        def cut(self: Training, metrics: Any) -> Any:
            if self.recipe.train.stage == stage:
                cut_after(patch, 2)
            return fit(self, metrics)

        patch.setattr(Training, "fit", cut)
        assert main(command) == 130
    assert main([*command, "--resume_from_checkpoint", "true"]) == 0
    assert ("has ended" in capsys.readouterr().err) == (stage == 2)
    second, first = runs_below(tmp_path)
    assert weights(first) == weights(whole[1])
    assert weights(second) == weights(whole[0])


def test_stages_must_be_a_list_of_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("stages: 2\n")
    assert main(["sft", str(path)]) == 2
    assert f"{path}: stages: is not a list" in capsys.readouterr().err
