"""Runs and checkpoints are found however people name them, or the error says where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from selfhood.errors import InputError, MissingError
from selfhood.run import Checkpoint, Run, find_checkpoint


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def adapter(path: str, base: str = "tiny") -> Path:
    folder = Path(path)
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return folder


def failure(text: str) -> str:
    with pytest.raises(MissingError) as caught:
        find_checkpoint(text)
    return str(caught.value)


def test_runs_are_numbered_on_from_the_highest() -> None:
    assert Run.named(Path("output"), stamp="now") == Run(Path("output/v0-now"))
    for name in ("v0-a", "v9-b", "v10-c", "vx-d", "other"):
        Path("output", name).mkdir(parents=True)
    assert Run.named(Path("output"), stamp="now").path.name == "v11-now"


def test_checkpoints_are_listed_by_number_and_only_whole_ones() -> None:
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-2", "checkpoint-10-merged"):
        adapter(f"run/{name}")
    Path("run/checkpoint-11").mkdir()
    updates = [checkpoint.update for checkpoint in Run(Path("run")).checkpoints()]
    assert updates == [2, 9, 10]
    assert Run(Path("nowhere")).checkpoints() == []


def test_a_checkpoint_a_run_and_an_output_folder_all_lead_to_a_checkpoint() -> None:
    adapter("output/v2-old/checkpoint-50")
    newest = adapter("output/v10-new/checkpoint-7")
    old = adapter("output/v10-new/checkpoint-5")
    assert find_checkpoint(str(old)).path == old
    assert find_checkpoint("output/v10-new").path == newest
    assert find_checkpoint("output").path == newest
    assert find_checkpoint("output/").path == newest


def test_the_path_of_older_tutorials_finds_the_newest_run_that_has_it() -> None:
    adapter("output/v0-a/checkpoint-100")
    expected = adapter("output/v1-b/checkpoint-100")
    adapter("output/v2-c/checkpoint-31")
    assert find_checkpoint("output/checkpoint-100").path == expected


def test_a_run_that_stopped_before_its_first_checkpoint_is_passed_over() -> None:
    expected = adapter("output/v0-a/checkpoint-2")
    Path("output/v1-b").mkdir()
    assert find_checkpoint("output").path == expected


def test_an_adapter_of_another_tool_is_one_wherever_it_lies() -> None:
    folder = adapter("狐 fox/adapter")
    checkpoint = find_checkpoint(str(folder))
    assert (checkpoint.update, checkpoint.args(), checkpoint.base_model()) == (0, {}, "tiny")


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    adapter("a")
    assert find_checkpoint("~/a").path == tmp_path / "a"


def test_a_mistyped_checkpoint_lists_the_newest_that_are_there() -> None:
    for age, name in enumerate(("v0-a/checkpoint-31", "v1-b/checkpoint-9", "v1-b/checkpoint-10")):
        os.utime(adapter(f"output/{name}"), (age, age))
    assert failure("output/v1-b/checkpoint-11") == (
        "output/v1-b/checkpoint-11: no such checkpoint; give the path that training printed as "
        "last_model_checkpoint; there are: output/v1-b/checkpoint-9, output/v1-b/checkpoint-10"
    )
    assert "there are: output/v0-a/checkpoint-31, output/v1-b/checkpoint-9" in failure("output/x")


@pytest.mark.parametrize(
    "text",
    ["output/v2-2025xxxx-xxxx/checkpoint-xxx", "</path/to/output/v0-20250605-083928/checkpoint-31>",
     "/path/to/output/v0-20250605-083928/checkpoint-31"],
)  # fmt: skip
def test_the_path_printed_in_a_tutorial_is_recognised(text: str) -> None:
    adapter("output/v0-a/checkpoint-31")
    assert "that is the tutorial's example; put the path that training printed" in failure(text)


def test_a_whole_model_given_as_an_adapter_says_which_flag_to_use() -> None:
    Path("merged").mkdir()
    Path("merged/config.json").write_text("{}")
    assert "is a whole model, not an adapter; use --model merged" in failure("merged")


def test_an_empty_folder_holds_no_adapter() -> None:
    Path("empty").mkdir()
    assert "empty: holds no adapter" in failure("empty")


def test_args_that_are_no_json_name_the_file() -> None:
    folder = adapter("a")
    (folder / "args.json").write_text("{")
    with pytest.raises(InputError, match=r"a/args.json: cannot be read as JSON"):
        Checkpoint(folder).args()
