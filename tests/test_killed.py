"""``kill -9`` at any moment of a whole ``sft``: what is there is whole, and the run goes on.

Children are forked from a process that has imported everything and computed nothing, so that a
run of the tiny model takes a second and a hundred of them fit into a few minutes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

import pytest

from selfhood.cli.main import main
from selfhood.run import Checkpoint, Run
from tests.tiny import tiny_model

NUM_UPDATES = 20
LONGEST_LIFE = 2.0  # seconds; a whole run takes about that


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("killed")
    tiny_model(folder / "tiny")
    lines = [{"query": f"{n} + 1?", "response": f"{n + 1}"} for n in range(7)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    flags = {
        "model": folder / "tiny",
        "dataset": folder / "rows.jsonl",
        "max_steps": NUM_UPDATES,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "lora_dropout": 0.1,
        "torch_dtype": "float32",
        "save_steps": 2,
        "save_total_limit": 2,
    }
    return ["sft", *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def run_quietly(words: list[str]) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.dup2(null, sys.stderr.fileno())
    raise SystemExit(main(words))


def start(words: list[str]) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["transformers.models.qwen2", "selfhood.training.start", __name__]
    )
    child = context.Process(target=run_quietly, args=(words,))
    child.start()
    return child


def finish(words: list[str]) -> None:
    child = start(words)
    child.join()
    assert child.exitcode == 0


def runs(output: Path) -> list[Run]:
    """Those that lived until their first checkpoint."""
    return [Run(folder) for folder in output.glob("v*-*") if Run(folder).checkpoints()]


def adapter(run: Run) -> bytes:
    return (run.checkpoints()[-1].path / "adapter_model.safetensors").read_bytes()


def assert_all_whole(run: Run) -> list[Checkpoint]:
    for checkpoint in run.checkpoints():
        checkpoint.check()
    return run.checkpoints()


def kill_and_go_on(command: list[str], folder: Path, num_kills: int) -> None:
    finish([*command, "--output_dir", str(folder / "whole")])
    expected = adapter(runs(folder / "whole")[0])
    generator = random.Random(0)
    output = folder / "cut"
    num_hits = newest = 0
    while num_hits < num_kills:
        words = [*command, "--output_dir", str(output)]
        if newest:
            words += ["--resume_from_checkpoint", "true"]
        child = start(words)
        child.join(timeout=generator.uniform(0.1, LONGEST_LIFE))
        if killed := child.is_alive():
            child.kill()
            child.join()
            num_hits += 1
        for run in runs(output):
            found = assert_all_whole(run)
            assert not newest or found[-1].update >= newest
            newest = found[-1].update if found else newest
        if newest == NUM_UPDATES:
            (run,) = runs(output)
            assert adapter(run) == expected
            # One that is killed after its last checkpoint has had no time to tidy up.
            assert killed or not list(run.path.glob(".*.tmp"))
            output, newest = folder / f"cut-{num_hits}-{time.monotonic_ns()}", 0
    if newest:
        finish([*command, "--output_dir", str(output), "--resume_from_checkpoint", "true"])
        (run,) = runs(output)
        assert adapter(run) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_run_that_is_killed_four_times_ends_with_the_bytes_of_one_that_is_not(
    command: list[str], tmp_path: Path
) -> None:
    kill_and_go_on(command, tmp_path, 4)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_hundred_kills_lose_no_checkpoint(command: list[str], tmp_path: Path) -> None:
    kill_and_go_on(command, tmp_path, 100)
