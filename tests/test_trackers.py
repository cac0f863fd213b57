"""Metrics reach the trackers that the user names: the real packages, told to stay offline."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from selfhood.cli.main import main
from selfhood.recipe import Tracker
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("trackers")
    tiny_model(folder / "tiny")
    (folder / "rows.jsonl").write_text(json.dumps({"query": "Hi", "response": "Hello!"}) + "\n")
    model, rows = str(folder / "tiny"), str(folder / "rows.jsonl")
    return ["sft", "--model", model, "--dataset", rows, "--max_steps", "2"]


def test_a_tracker_that_is_not_installed_is_one_line_with_the_remedy(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*command, "--output_dir", str(tmp_path), "--report_to", "tensorboard", "swanlab"]
    assert main(words) == 2
    assert "--report_to: needs the package swanlab; pip install swanlab" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "swanlab", "mlflow"])
def test_a_run_is_tracked(name: Tracker, command: list[str], tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages), name]
    subprocess.run(install, check=True)
    source = Path(__file__).parents[1] / "src"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{source}{os.pathsep}{packages}",
        "WANDB_MODE": "offline",
        "SWANLAB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    words = [*command, "--output_dir", str(tmp_path / "output"), "--report_to", name]
    subprocess.run([sys.executable, "-m", "selfhood", *words], check=True, env=environment)
    (run,) = (tmp_path / "output").iterdir()
    if name == "mlflow":
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            found = set(database.execute("select key, step from metrics"))
        assert {("train/loss", 1), ("train/loss", 2)} <= found
    else:
        kept = {
            "wandb": "wandb/offline-run-*/run-*.wandb",
            "swanlab": "swanlog/run-*/run-*.swanlab",
        }
        (file,) = run.glob(kept[name])
        assert b"train/loss" in file.read_bytes()
