"""The benches that run other tools measure what they say, and leave nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.peers.environment import READY, TORCH, Environment, prepare
from bench.peers.findings import UPDATE_COLUMNS, Finding, Stamp, table, update_seconds
from bench.peers.ms_swift import MS_SWIFT
from bench.peers.race import race
from bench.peers.rows import (
    LONGEST,
    MESSAGES,
    PROMPTS,
    identity_rows,
    mixed_rows,
    num_tokens,
    read_rows,
    write_rows,
)
from bench.peers.selfhood import SELFHOOD
from bench.peers.tool import RECIPE, Logged, Task
from bench.peers.trl import TRL, TRL_BATCH, TRL_PADDING_FREE
from bench.peers_command import CONTEST as WHOLE_COMMAND
from selfhood.cli.flags import parse_flags
from selfhood.recipe import Recipe
from tests.fake_tool import TASK, script
from tests.tiny import tiny_tokenizer

TOOLS = (MS_SWIFT, TRL, TRL_BATCH, TRL_PADDING_FREE, SELFHOOD)
# Lines as the tools wrote them.
PRINTED_BY_TRL = (
    "{'loss': '3.843', 'grad_norm': '11.62', 'learning_rate': '0', 'entropy': '1.947', "
    "'num_tokens': '649', 'epoch': '0.1429'}"
)
LOGGED_BY_MS_SWIFT = (
    '{"loss": 2.89456248, "grad_norm": 6.57376671, "learning_rate": 0.0001, '
    '"global_step/max_steps": "5/7", "elapsed_time": "6m 9s", "train_speed(s/it)": 369.442033}'
)
WRITES_A_LOG = """
import pathlib, sys, time
log = pathlib.Path(sys.argv[1]) / "run.log"
for update in range(1, 4):
    time.sleep(0.2)
    with log.open("a") as file:
        file.write(f"{update} {1 / update}\\n")
"""
FAILS = "print('no such flag'); raise SystemExit(2)"
RACES = """
import pathlib, sys
from bench.peers.race import end_on_signals, race
from tests.fake_tool import TASK, script
end_on_signals()
folder = pathlib.Path(sys.argv[1])
race(script(sys.argv[2]), TASK, folder, folder / "out")
"""
HAS_A_CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(pathlib.Path(sys.argv[1]) / "child").write_text(str(child.pid))
time.sleep(600)
"""


def values(argv: tuple[str, ...]) -> dict[str, str]:
    return {
        word.removeprefix("--"): argv[number + 1]
        for number, word in enumerate(argv)
        if word.startswith("--")
    }


def test_selfhood_understands_every_word_that_ms_swift_is_given() -> None:
    for recipe in (TASK.options, WHOLE_COMMAND.recipe):
        task = Task(model=TASK.model, rows=TASK.rows, options=recipe)
        argv = list(SELFHOOD.argv(task, Path("OUT")))
        given = values(MS_SWIFT.argv(task, Path("OUT")))
        assert recipe.items() <= given.items()
        parse_flags(Recipe, argv[argv.index("sft") + 1 :])


def test_trl_is_given_the_same_recipe_in_its_own_words() -> None:
    given = values(TRL.argv(TASK, Path("OUT")))
    assert given["lora_r"] == RECIPE["lora_rank"]
    assert given["lora_target_modules"] == RECIPE["target_modules"]
    assert given["warmup_steps"] == RECIPE["warmup_ratio"]
    assert given["train_sampling_strategy"] == "sequential"
    assert given["dtype"] == "bfloat16" and given["bf16"] == "true"
    shared = {"learning_rate", "weight_decay", "adam_beta2", "lora_dropout", "max_steps", "seed"}
    assert {name: given[name] for name in shared} == {name: TASK.options[name] for name in shared}


def test_every_setting_of_trl_takes_sixteen_rows_an_update() -> None:
    for tool in (TRL, TRL_BATCH, TRL_PADDING_FREE):
        given = values(tool.argv(TASK, Path("OUT")))
        batch, steps = "per_device_train_batch_size", "gradient_accumulation_steps"
        assert int(given[batch]) * int(given[steps]) == 16


def test_logs_are_read_as_the_tools_write_them() -> None:
    assert TRL.read(PRINTED_BY_TRL, 2) == Logged(update=3, loss=3.843)
    assert TRL.read("{'train_runtime': '191.3', 'train_loss': '4.125'}", 2) is None
    assert MS_SWIFT.read(LOGGED_BY_MS_SWIFT, 1) == Logged(update=5, loss=2.89456248)
    assert SELFHOOD.read('{"train_runtime": 33.4, "train_loss": 3.44}', 2) is None


def test_a_command_is_timed_from_outside(tmp_path: Path) -> None:
    found = race(script(WRITES_A_LOG), TASK, tmp_path, tmp_path / "out")
    assert [stamp.update for stamp in found.stamps] == [1, 2, 3]
    assert [stamp.loss for stamp in found.stamps] == pytest.approx([1, 1 / 2, 1 / 3])
    assert found.first_update > 0.2 and found.stamps[2].at > 0.6
    assert found.first_update <= found.stamps[2].at <= found.seconds
    assert len(found.seconds_per_update) == 2
    assert 0.001 < found.peak_gib < 1


def test_a_command_that_fails_ends_the_bench_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no such flag\n\nscript ended with 2"):
        race(script(FAILS), TASK, tmp_path, tmp_path / "out")


def test_an_interrupted_bench_leaves_no_process_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACES, str(tmp_path), HAS_A_CHILD]
    bench = subprocess.Popen(command, env=import_path())
    note = tmp_path / "out" / "child"
    wait_for(lambda: note.is_file() and note.read_text() != "")
    bench.terminate()
    bench.wait(timeout=30)
    wait_for(lambda: not is_running(int(note.read_text())))


def import_path() -> dict[str, str]:
    root = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, check: asked.append(list(map(str, command)))
    )
    one = Environment(name="one", requirements=("some-tool==1.0",), shown=())
    (tmp_path / "one").mkdir()
    prepare(one, tmp_path)
    assert [command[-1] for command in asked[1:3]] == [TORCH, "some-tool==1.0"]
    prepare(one, tmp_path)
    assert len(asked) == 4
    (tmp_path / "one" / READY).write_text("other versions")
    prepare(one, tmp_path)
    assert len(asked) == 8


def test_medians_leave_the_first_update_of_each_command_out() -> None:
    def found(tool: str, *at: float) -> Finding:
        stamps = [Stamp(update=1 + 2 * n, loss=3.0, at=time) for n, time in enumerate(at)]
        return Finding(tool=tool, stamps=tuple(stamps), seconds=at[-1] + 1, peak_gib=2.0)

    slow = [found(TRL.name, 100, 108, 120), found(TRL.name, 50, 60)]
    assert update_seconds(slow) == 5  # of 4, 6 and 5
    fast = [found(SELFHOOD.name, 10, 12)]
    lines = table((TRL, SELFHOOD), [*slow, *fast], UPDATE_COLUMNS).splitlines()
    assert lines[2].startswith("| TRL, defaults | 5.00 | 4.00 to 6.00 | 5.0x |")
    assert lines[3].startswith("| selfhood | 1.00 | 1.00 to 1.00 | 1.0x |")


def test_all_tools_get_the_same_rows(tmp_path: Path) -> None:
    rows = identity_rows(108)
    assert len(set(rows)) == 108
    write_rows(tmp_path / "rows", rows)
    assert read_rows(tmp_path / "rows" / MESSAGES) == rows
    halves = read_lines(tmp_path / "rows" / PROMPTS / "train.jsonl")
    joined = [[*half["prompt"], *half["completion"]] for half in halves]
    assert joined == [row["messages"] for row in read_lines(tmp_path / "rows" / MESSAGES)]


def read_lines(path: Path) -> list[dict[str, list[object]]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_mixed_rows_are_the_same_each_time_and_fit() -> None:
    tokenizer = tiny_tokenizer().backend_tokenizer
    rows = mixed_rows(30, tokenizer)
    assert rows == mixed_rows(30, tokenizer) and len(rows) == 30
    lengths = [num_tokens([turn.content for turn in row], tokenizer) for row in rows]
    assert LONGEST - 200 < max(lengths) <= LONGEST
