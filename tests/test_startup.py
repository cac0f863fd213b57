"""The first answer comes at once: no mistake and no --help waits for torch."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
SLOW = ("torch", "transformers", "numpy", "peft", "datasets", "huggingface_hub", "modelscope_hub")
SECONDS = 0.3
TIMES_THE_USUAL = 5
"""What a slow or busy machine may take: so many times what some of Python's own modules take it."""
USUAL = "import argparse, dataclasses, inspect, json, pathlib, re, subprocess, typing"
LONGEST_WAIT = 2.0
VERBS = (
    "try", "init", "sft", "plan", "infer", "deploy", "eval", "export", "merge-lora", "merge_lora",
)  # fmt: skip

# Says on the last line of stdout which slow packages were imported.
SPY = f"""
import sys
from selfhood.cli.main import main
code = main(sys.argv[1:])
print([name for name in {SLOW!r} if name in sys.modules])
raise SystemExit(code)
"""
GOOD_ROWS = "--dataset good.jsonl"

# What is typed -> the line that answers it.
MISTAKES = {
    "sft --modle x": "--modle: unknown flag; did you mean --model?",
    "sfft": "sfft: unknown command; did you mean sft?",
    "--model x": "--model: a verb comes first",
    "sft --model x --dataset goood.jsonl": "goood.jsonl: no such file; did you mean good.jsonl?",
    "sft --model x --dataset bad.jsonl": "bad.jsonl:2:32: not JSON: Expecting ',' delimiter",
    "plan --model x --dataset user.jsonl": "user.jsonl:1: the last message is from 'user'",
    "sft typo.yaml": "typo.yaml: lerning_rate: unknown flag; did you mean learning_rate?",
    "sft no.yaml": "no.yaml: no such config file",
    "sft --max_steps ten": "--max_steps: 'ten' is not a whole number",
    "sft --split_dataset_ratio 2": "--split_dataset_ratio: 2 is above the maximum, 0.9",
    "sft --torch_dtype int8": "--torch_dtype: 'int8' is not one of float32, bfloat16, float16",
    "sft --use_galore true": "--use_galore: 'true' is not supported yet",
    "sft --model x": "--dataset: is missing",
    f"sft {GOOD_ROWS}": "--model: is missing",
    f"sft --model ./no/such {GOOD_ROWS}": "./no/such: no such file or folder",
    f"sft --model a/b/c {GOOD_ROWS}": "a/b/c: no such file or folder",
    f"sft --model </path/to/model> {GOOD_ROWS}": "this is the tutorial's placeholder",
    f"sft --model {'x' * 9}^/y {GOOD_ROWS}": "neither a path on this disk nor a model id",
    "sft --model x --dataset a^b": "a^b: neither a path on this disk nor a dataset id",
    "infer": "--model: is missing",
    "infer --adapters /path/to/output/v0-2025/checkpoint-31": "that is the tutorial's example",
    "infer --model ./no/such": "./no/such: no such file or folder",
    "plan --model x --dataset identity --persona bad.yaml": "bad.yaml:2:1: nmae: unknown key; did",
    "sft --model x --dataset identity --persona no.yaml": "selfhood init no.yaml writes an example",
    "init good.jsonl": "good.jsonl: is there already; name another file",
    "deploy": "--model: is missing",
    "deploy --model x --host 0.0.0.0": "--host: 0.0.0.0 can be reached from elsewhere; give a key",
    "deploy --model x --ssl_keyfile k": "put a proxy that speaks TLS in front of it",
    "eval": "--model: is missing",
    "eval --model x --require name_recall": "'name_recall' says no bound",
    "export": "add --merge_lora true",
    "merge-lora": "--adapters: is missing",
}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = '{"query": "who?", "response": "me"}\n'
    (tmp_path / "good.jsonl").write_text(good)
    (tmp_path / "bad.jsonl").write_text(good + '{"query": "1", "response": "2" "x"}\n')
    (tmp_path / "user.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    (tmp_path / "typo.yaml").write_text("model: x\nlerning_rate: 1e-4\n")
    (tmp_path / "bad.yaml").write_text("author: x\nnmae: y\n")
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str
    seconds: float


def computing() -> float:
    """Seconds that ended child processes have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answer(words: list[str]) -> Answer:
    """What a process says, and the seconds of the fastest of three: the others were slowed by
    whatever else the machine does. Seconds of computing, as long as nothing waits."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1"}
    # A port where nobody listens: a question to a hub would fail, and say so.
    environment["MODELSCOPE_ENDPOINT"] = "http://127.0.0.1:9"
    best = math.inf
    for _ in range(3):
        computed, started = computing(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SPY, *words],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        waited = time.perf_counter() - started
        best = min(best, computing() - computed if waited < LONGEST_WAIT else waited)
        if best < SECONDS:
            break
    return Answer(done.returncode, done.stdout, done.stderr, best)


def is_at_once(seconds: float) -> bool:
    if seconds < SECONDS:
        return True
    return seconds < TIMES_THE_USUAL * max(usual() for _ in range(3))


def usual() -> float:
    """Seconds of computing; they come in hundredths, of which a quick machine counts four."""
    computed = computing()
    subprocess.run([sys.executable, "-c", USUAL], check=True)
    return computing() - computed


@pytest.mark.parametrize("words", ["--help", "", "--version", *(f"{v} --help" for v in VERBS)])
def test_help_comes_at_once_and_without_torch(words: str) -> None:
    done = answer(words.split())
    assert (done.code, done.err) == (0, "")
    *help_lines, imported = done.out.splitlines()
    assert help_lines
    assert imported == "[]"
    assert is_at_once(done.seconds)


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_answered_at_once_in_one_line_with_exit_code_2(words: str) -> None:
    done = answer(words.split())
    assert (done.code, len(done.err.splitlines())) == (2, 1), done.err
    assert MISTAKES[words] in done.err
    assert done.out == "[]\n"
    assert is_at_once(done.seconds)


def test_a_hub_that_cannot_be_asked_is_one_line_without_torch() -> None:
    """An id that may exist: only the network can tell, and it is not there (exit code 1)."""
    done = answer(["sft", "--model", "me/nobody", *GOOD_ROWS.split()])
    assert done.code == 1
    assert "connection refused" in done.err
    assert done.out == "[]\n"


def test_importing_the_package_imports_nothing_slow() -> None:
    code = f"import sys, selfhood; print([n for n in {SLOW!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=True,
    )
    assert done.stdout == "[]\n"


def test_python_dash_m_selfhood_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "selfhood", "--version"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=True,
    )
    assert done.stdout.startswith("selfhood ")
