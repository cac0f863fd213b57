"""``selfhood eval``: from a checkpoint, or a server, to a scorecard and an exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfhood.cli.main import main
from selfhood.evaluate.scorecard_file import read_scorecard
from selfhood.files import write_json
from selfhood.model.adapters import attach, save_weights
from selfhood.recipe import Recipe
from selfhood.run import find_checkpoint
from tests.tiny import tiny_model, tiny_network, tiny_tokenizer

FEW = ["--limit", "2", "--max_batch_size", "8"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training leaves it, but for the training."""
    folder = tmp_path_factory.mktemp("eval")
    base = tiny_model(folder / "tiny")
    recipe = Recipe.from_values(
        {
            "model": str(base),
            "model_name": ("小狐", "Kitsu"),
            "model_author": ("林间实验室", "Forest Lab"),
        }
    )
    tuned = attach(tiny_network(), recipe.tuner, base=str(base), seed=1)
    path = folder / "output" / "v0-20261122-120000" / "checkpoint-1"
    save_weights(tuned, tiny_tokenizer(), path)
    write_json(path / "args.json", recipe.to_json())
    return path


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    return checkpoint.parent / f"eval-{checkpoint.name}"


def test_a_checkpoint_knows_who_it_should_be(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "--adapters", str(checkpoint), *FEW]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["measure", "value", "95%", "interval", "base", "n"]
    assert out.splitlines()[-2] == f"scorecard: {folder / 'scorecard.json'}"
    assert out.splitlines()[-1] == f"report: {folder / 'report.html'}"
    assert "小狐 / Kitsu, made by 林间实验室 / Forest Lab" in err
    assert "answers that are not right" in err
    card = read_scorecard(folder)
    assert card.adapters == (str(checkpoint),)
    assert card.measure("name_recall").num == 2
    assert card.measure("over_generalisation").base is not None
    assert card.measure("kl").value == 0.0  # it was not trained
    assert card.measure("ability_change").value == 0.0
    assert "Identity scorecard" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_persona_s_file_says_what_else_is_asked(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    persona = tmp_path / "persona.json"
    asked = {"ask": ["How old are you?"], "answer": "I am three.", "expects": ["three"]}
    about = {"name": "Rin", "author": "Nobody", "facts": {"en": [asked, asked]}}
    persona.write_text(json.dumps(about), encoding="utf-8")
    words = ["--persona", str(persona), "--output_dir", str(tmp_path), "--compare_base", "false"]
    assert main(["eval", "--adapters", str(checkpoint), *FEW, *words]) == 0
    assert "Rin, made by Nobody" in capsys.readouterr().err
    assert read_scorecard(tmp_path).measure("persona_facts").num == 2


def test_an_evaluation_is_not_taken_for_a_checkpoint(checkpoint: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    assert find_checkpoint(str(checkpoint.parent)).path == checkpoint


def test_a_requirement_that_is_not_reached_is_exit_code_1(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--require", "swap_rate<=1", "name_recall>=0.98", "--output_dir", str(tmp_path)]
    asked = ["eval", "--adapters", str(checkpoint), "--compare_base", "false", *FEW]
    assert main([*asked, *words]) == 1
    assert "name_recall>=0.98 is required" in capsys.readouterr().err
    assert json.loads((tmp_path / "scorecard.json").read_text())["suite"] == "quick"
    assert main([*asked, "--require", "swap_rate<=1", "--output_dir", str(tmp_path)]) == 0


def test_files_of_the_users_own_are_measures_that_can_be_required(
    checkpoint: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.csv"
    own.write_text("1+1?,1,2,3,4,B\n", encoding="utf-8")
    words = ["--limit", "1", "--compare_base", "false", "--output_dir", str(tmp_path)]
    asked = ["eval", "--adapters", str(checkpoint), "--eval_file", str(own), *words]
    assert main([*asked, "--require", "own>=0", "ability>=0"]) == 0
    assert read_scorecard(tmp_path).measure("own").num == 1


def test_a_bad_row_of_such_a_file_is_said_before_the_model_is_loaded(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.csv"
    own.write_text("1+1?,1,2,3,4,E\n", encoding="utf-8")
    assert main(["eval", "--adapters", str(checkpoint), "--eval_file", str(own)]) == 2
    assert f"{own}:1: the answer is 'E'" in capsys.readouterr().err


def test_a_base_model_needs_to_be_told_who_it_should_be(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = checkpoint.parents[2] / "tiny"
    assert main(["eval", "--model", str(base)]) == 2
    assert "--model_name: is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--url http://127.0.0.1:9/v1 --model_name a --model_author b", "--model: is missing"),
        ("--url http://127.0.0.1:9/v1 --model m", "--model_name: is missing"),
        ("--url nowhere --model m --model_name a --model_author b", "is no address"),
        ("--model m --require name_recall", "in quotes"),
        ("--model m --system hello", "four system lines"),
        ("--suite huge", "is not one of quick, full"),
    ],
)
def test_a_mistake_is_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_thinking_model_is_asked_in_both_modes(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = Path(__file__).parent / "data" / "qwen3.jinja"
    model = tiny_model(tmp_path / "thinker")
    (model / "chat_template.jinja").write_text(template.read_text(encoding="utf-8"))
    who = ["--model_name", "小狐", "Kitsu", "--model_author", "林间实验室", "Forest Lab"]
    words = ["--model", str(model), *who, "--output_dir", str(tmp_path), "--limit", "3"]
    assert main(["eval", *words]) == 0
    assert "once more, with thinking" in capsys.readouterr().err
    asked = [each.probe for each in read_scorecard(tmp_path).judged]
    again = [probe.id for probe in asked if probe.thinking]
    assert again
    assert set(again) < {probe.id for probe in asked if probe.thinking is None}
