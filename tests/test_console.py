"""Results on stdout, everything else on stderr; colour and redrawing on a terminal only."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfhood import console


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal; within the test itself, since pytest puts its own there before."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_results_go_to_stdout_and_all_else_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.result("answer")
    console.say("note")
    console.warn("careful")
    console.fail("no")
    assert capsys.readouterr() == ("answer\n", "note\nwarning: careful\nselfhood: no\n")


def test_a_failure_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    console.fail("first\n  second\r\n")
    assert capsys.readouterr().err == "selfhood: first second\n"


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    assert console.paint("x", "31") == "\x1b[31mx\x1b[0m"
    assert console.paint("x", "31", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert console.paint("x", "31") == "x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (75, "1m 15s"), (3600, "1h 00m"),
     (7199.9, "2h 00m")],
)  # fmt: skip
def test_a_duration_is_short(seconds: float, text: str) -> None:
    assert console.clock(seconds) == text


def test_off_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.Progress("training", total=50, unit="update") as bar:
        for _ in range(50):
            bar.advance(note="loss 1")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[2] for line in lines] == ["0/50 update", "50/50 update"]
    assert lines[-1].endswith("loss 1")


def test_on_a_terminal_progress_is_one_line_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with console.Progress("training", total=2) as bar:
        bar.advance(2)
    drawn = screen.getvalue()
    assert drawn.count("\n") == 1
    assert drawn.endswith("\n")
    assert drawn.count("\r\x1b[2K") >= 2


def test_a_bar_that_is_interrupted_still_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), console.Progress("training", total=2) as bar:
        bar.advance()
        raise KeyboardInterrupt
    assert screen.getvalue().endswith("\n")


def test_progress_never_runs_over_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress("x", total=0) as bar:
        bar.advance(5)
    assert "1/1" in capsys.readouterr().err


def test_a_table_shows_brackets_and_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(["问题", "answer"], [["你是谁？", "[bold] is a word\nand so on"]])
    out, err = capsys.readouterr()
    assert out == ""
    assert "你是谁？" in err
    assert "[bold] is a word" in err


def test_lines_of_a_pipe_are_read_without_a_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    source = io.StringIO("one\r\n\ntwo")
    assert [console.ask("<<< ", source) for _ in range(4)] == ["one", "", "two", None]
    assert capsys.readouterr() == ("", "")


def test_a_prompt_does_not_get_into_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """The person types at a terminal, the replies go to a file."""
    assert console.ask("<<< ", Terminal("who\n")) == "who"
    assert capsys.readouterr() == ("", "<<< ")


def test_a_pipe_that_cannot_hold_chinese_or_holds_nonsense_is_no_crash(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom selfhood import console\nconsole.forgive_encodings()\n"
        "console.result(f'你好 {sys.stdin.read()!r}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=b"\xff",
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": "src"},
        cwd=Path(__file__).parents[1],
        check=True,
    )
    assert done.stdout.startswith(b"?? ")
