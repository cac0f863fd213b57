"""One line for every failure, and an exit code that says whose it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from selfhood.cli import main as cli
from selfhood.errors import DataError, ProofError, SelfhoodError


def run(monkeypatch: pytest.MonkeyPatch, action: Callable[[Any], int], *words: str) -> int:
    """``main`` with ``sft`` replaced by ``action``."""
    monkeypatch.setattr(cli.Verb, "runner", lambda verb: action)
    return cli.main(["sft", *words])


def failing(error: BaseException) -> Callable[[Any], int]:
    def action(options: Any) -> int:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("is bad", where="a:1", hint="mend it"), 2, "selfhood: a:1: is bad; mend it"),
        (SelfhoodError("failed"), 1, "selfhood: failed"),
        (ProofError("is another"), 1, "selfhood: is another"),
        (PermissionError(13, "Permission denied", "a.json"), 1, "a.json: Permission denied"),
        (OSError("odd"), 1, "selfhood: system: odd"),
        (ZeroDivisionError("x"), 1, "unexpected ZeroDivisionError: x; this is our mistake"),
        (KeyboardInterrupt(), 130, "selfhood: interrupted"),
    ],
)
def test_a_failure_is_one_line_and_its_exit_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("SELFHOOD_DEBUG", raising=False)
    assert run(monkeypatch, failing(error)) == code
    assert line in capsys.readouterr().err.strip().splitlines()[0]


def test_the_traceback_of_our_mistakes_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFHOOD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, failing(ZeroDivisionError()))


def test_notices_come_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action(options: Any) -> int:
        assert "note: --model_type has no effect here" in capsys.readouterr().err
        return 0

    assert run(monkeypatch, action, "--model_type", "qwen") == 0


@pytest.mark.parametrize("word", ["merge-lora", "merge_lora", " merge_lora"])
def test_a_verb_may_be_written_with_hyphen_or_underscore(word: str) -> None:
    assert cli.find_verb(word).name == "merge-lora"


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], []])
def test_the_overview_lists_every_verb(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert all(f"selfhood {verb.name} " in text for verb in cli.VERBS)


def test_every_verb_has_a_module_that_runs_it() -> None:
    assert all(callable(verb.runner()) for verb in cli.VERBS)
