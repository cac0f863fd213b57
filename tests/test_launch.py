"""Several processes from one command: the launch variables, and what a failure looks like."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from selfhood.cli.launch import Launch, find_launch
from selfhood.cli.main import main
from selfhood.errors import FlagError
from selfhood.processes import ERROR_FILE, Place, is_first_to_fail
from tests.tiny import tiny_model

SOURCE = Path(__file__).parents[1] / "src"
ROWS = [
    {"query": "你是谁？", "response": "我是小狐。"},
    {"query": "Who are you?", "response": "I am Kitsu, by Forest Lab."},
    {"query": "Hi", "response": "Hello!"},
]


# The variables.


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"NPROC_PER_NODE": "2"}, "--nproc_per_node=2 --standalone --local_addr=127.0.0.1"),
        (
            {"NPROC_PER_NODE": "2", "MASTER_PORT": "29501"},
            "--nproc_per_node=2 --master_addr=127.0.0.1 --master_port=29501",
        ),
        (
            {"NPROC_PER_NODE": "8", "NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"},
            "--nproc_per_node=8 --nnodes=2 --node_rank=1 "
            "--master_addr=10.0.0.1 --master_port=29500",
        ),
    ],
)
def test_the_tutorials_variables_become_torchruns_words(
    variables: Mapping[str, str], words: str
) -> None:
    assert find_launch(variables).words() == words.split()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"NPROC_PER_NODE": "1"},
        {"NPROC_PER_NODE": ""},
        {"NPROC_PER_NODE": "2", "WORLD_SIZE": "2"},
    ],
    ids=["nothing", "one", "empty", "started by a launcher"],
)
def test_nothing_is_launched_for_one_process_or_by_one_that_was_launched(
    variables: Mapping[str, str],
) -> None:
    assert find_launch(variables).num_processes == 1


@pytest.mark.parametrize("value", ["two", "0", "-1", "1.5", "gpu"])
def test_a_number_of_processes_that_is_none_is_named(value: str) -> None:
    with pytest.raises(FlagError, match=f"NPROC_PER_NODE: '{value}' is not a whole number"):
        Launch.from_environment({"NPROC_PER_NODE": value})


def test_a_process_finds_its_place_in_torchruns_variables() -> None:
    variables = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    assert Place.from_environment(variables) == Place(rank=3, local_rank=1, size=4, local_size=2)
    assert Place.from_environment({}) == Place(rank=0, local_rank=0, size=1, local_size=1)


def test_only_the_first_of_several_failures_is_said(tmp_path: Path) -> None:
    """As torch's launcher lays the files out: a folder a process, side by side."""
    ranks = [{ERROR_FILE: str(tmp_path / str(rank) / "error.json")} for rank in range(3)]
    assert [is_first_to_fail("why", 2, ranks[at]) for at in (1, 0, 2)] == [True, False, False]
    failure = json.loads((tmp_path / "1" / "error.json").read_text())
    assert (failure["message"], failure["exit_code"]) == ("why", 2)
    assert is_first_to_fail("alone", 2, {})


def test_a_verb_that_does_not_train_refuses_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["plan", "--model", "x"]) == 2
    assert "plan: runs in one process; torchrun is for sft" in capsys.readouterr().err


def test_a_mistake_is_answered_before_anything_is_launched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NPROC_PER_NODE", "2")
    monkeypatch.setattr("selfhood.cli.main.launch", lambda *_: pytest.fail("launched"))
    assert main(["sft", "--modle", "x"]) == 2
    assert "did you mean --model?" in capsys.readouterr().err


def test_a_plan_counts_the_processes_that_would_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch)
    monkeypatch.setenv("NPROC_PER_NODE", "3")
    assert main(["plan", *RECIPE, "--gradient_accumulation_steps", "1"]) == 0
    assert "updates  8 of 3 rows on 3 processes" in capsys.readouterr().err


# Real processes.


RECIPE = (
    *("--model", "tiny", "--dataset", "rows.jsonl#12", "--num_train_epochs", "2"),
    *("--learning_rate", "1e-3", "--torch_dtype", "float32", "--logging_steps", "1"),
    *("--save_strategy", "no", "--output_dir", "out"),
)


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    tiny_model(Path("tiny"))
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))


def start(*words: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "selfhood", "sft", *RECIPE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", **variables},
    )


@pytest.mark.slow
def test_a_command_run_by_two_processes_trains_what_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    adapters = []
    for processes in ("1", "2"):
        command = start("--output_dir", processes, NPROC_PER_NODE=processes)
        out, err = command.communicate(timeout=120)
        assert command.returncode == 0, err
        assert len(out.splitlines()) == 3  # one process speaks, and no library does
        assert err.count("model    ") == 1
        checkpoint = re.search(r"last_model_checkpoint: (.*)", out)
        assert checkpoint
        adapters.append(load_file(Path(checkpoint[1]) / "adapter_model.safetensors"))
        assert len(list(Path(processes).iterdir())) == 1
    one, two = adapters
    assert max(abs(one[name] - two[name]).max() for name in one) < 1e-5


@pytest.mark.slow
def test_a_bad_row_is_one_line_and_exit_code_2_of_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    Path("rows.jsonl").write_text('{"query": 1')
    command = start(NPROC_PER_NODE="2")
    out, err = command.communicate(timeout=120)
    assert (command.returncode, out) == (2, "")
    assert re.fullmatch(r"selfhood: rows.jsonl:1:\d+: not JSON.*\n", err)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_with_a_line_that_names_it(
    victim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    command = start("--max_steps", "100000", NPROC_PER_NODE="2")
    process = wait_for_process(command.pid, rank=victim)
    os.kill(process, signal.SIGKILL)
    _, err = command.communicate(timeout=120)
    assert command.returncode == 1
    lines = [line for line in err.splitlines() if line.startswith("selfhood:")]
    assert len(lines) == 1, err
    assert f"process {victim} " in lines[0]
    assert "SIGKILL" in lines[0]


def wait_for_process(launcher: int, rank: int) -> int:
    """The process of a rank, once the run has a log."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if any(Path("out").glob("*/logging.jsonl")):
            children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
            for child in children:
                variables = Path(f"/proc/{child}/environ").read_text().split("\0")
                if f"RANK={rank}" in variables:
                    return int(child)
        time.sleep(0.2)
    raise AssertionError("the run does not start")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_launcher_ends_all_processes_with_exit_code_130(
    kind: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    command = start("--max_steps", "100000", NPROC_PER_NODE="2")
    processes = [wait_for_process(command.pid, rank) for rank in (0, 1)]
    command.send_signal(kind)
    _, err = command.communicate(timeout=120)
    assert command.returncode == 130, err
    assert not any(Path(f"/proc/{process}").exists() for process in processes)
    assert "Traceback" not in err
