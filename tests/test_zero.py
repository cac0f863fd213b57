"""DeepSpeed's ZeRO in two processes trains as one does, where the package is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from selfhood.cli.main import main
from selfhood.errors import FlagError, InputError, MissingError
from selfhood.recipe import TrainOptions
from selfhood.training.zero_config import PRESETS, check_sharing, zero_config
from tests.test_launch import RECIPE, SOURCE, prepare


def config(**flags: Any) -> dict[str, Any]:
    return zero_config(TrainOptions(**flags))


# The configuration.


def test_a_preset_says_what_is_held_in_parts_and_the_flags_say_the_rest() -> None:
    made = config(deepspeed="zero3_offload", max_grad_norm=0.5)
    assert made["zero_optimization"]["stage"] == 3
    assert made["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert made["gradient_clipping"] == 0.5


def test_a_file_made_for_transformers_is_taken_without_what_flags_decide(tmp_path: Path) -> None:
    values = {
        "zero_optimization": {
            "stage": 2,
            "reduce_bucket_size": "auto",
            "contiguous_gradients": True,
        },
        "train_batch_size": "auto",
        "optimizer": {"type": "AdamW"},
        "wall_clock_breakdown": False,
    }
    (tmp_path / "my.json").write_text(json.dumps(values))
    made = config(deepspeed=str(tmp_path / "my.json"))
    assert made["zero_optimization"] == {"stage": 2, "contiguous_gradients": True}
    assert made["wall_clock_breakdown"] is False
    assert "optimizer" not in made


def test_what_is_neither_a_preset_nor_a_good_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FlagError, match="'zero4' is neither a preset"):
        config(deepspeed="zero4")
    with pytest.raises(MissingError, match="no such file"):
        config(deepspeed=str(tmp_path / "no.json"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(FlagError, match="has no zero_optimization"):
        config(deepspeed=str(tmp_path / "list.json"))


@pytest.mark.parametrize(
    ("flags", "count", "line"),
    [
        ({"deepspeed": "zero2"}, 1, "one process has nobody to share with; set NPROC_PER_NODE"),
        ({"deepspeed": "zero2", "fsdp": "fsdp2"}, 2, "does the work of --fsdp"),
        ({"deepspeed": "zero2", "resume_from_checkpoint": "true"}, 2, "--fsdp fsdp2 can resume"),
    ],
)
def test_what_cannot_work_is_one_line(flags: dict[str, Any], count: int, line: str) -> None:
    with pytest.raises(InputError, match=line):
        check_sharing(TrainOptions(**flags), count)


def test_zero0_is_what_happens_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch)
    assert main(["plan", *RECIPE, "--deepspeed", "zero0"]) == 0
    assert "--deepspeed" not in capsys.readouterr().err


# Real processes.


def adapter(output: str, *words: str, processes: int) -> dict[str, Any]:
    """What a whole command leaves behind."""
    done = subprocess.run(
        [sys.executable, "-m", "selfhood", "sft", *RECIPE, "--output_dir", output, *words],
        capture_output=True,
        encoding="utf-8",
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "NPROC_PER_NODE": str(processes)},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    (file,) = Path(output).glob("*/checkpoint-*/adapter_model.safetensors")
    return load_file(file)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_two_processes_train_what_one_trains(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small token budget: the processes make several passes, and not the same number."""
    pytest.importorskip("deepspeed")
    prepare(tmp_path, monkeypatch)
    words = ("--token_budget", "64")
    alone = adapter("one", *words, processes=1)
    both = adapter("two", *words, "--deepspeed", preset, processes=2)
    assert alone.keys() == both.keys()
    assert max(np.abs(alone[name] - both[name]).max() for name in alone) < 1e-4
