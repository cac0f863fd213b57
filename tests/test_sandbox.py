"""Programs that a model wrote: what they may do, what stops them, and what counts as passing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from selfhood.evaluate.sandbox import Outcome, run_checked, walls

PROCESSES = Path("/proc")
FINE = "def double(n):\n    return 2 * n"


def outcome_of(program: str, checks: str = "", *, wall_seconds: float = 10.0) -> Outcome:
    return run_checked(program, checks, wall_seconds=wall_seconds)


def needs(wall: str) -> None:
    if not getattr(walls(), wall):
        pytest.skip("this system does not let an ordinary user make namespaces")


def test_a_right_program_passes_and_a_wrong_one_says_what_it_did() -> None:
    assert outcome_of(FINE, "assert double(2) == 4") == Outcome(passed=True)
    wrong = outcome_of(FINE, "assert double(2) == 5, 'double(2) is 4'")
    assert wrong == Outcome(passed=False, why="AssertionError: double(2) is 4")
    assert "SyntaxError" in outcome_of("def double(n) return", "").why
    assert "NameError" in outcome_of("x = 1", "assert double(2) == 4").why


def test_the_usual_modules_can_be_used() -> None:
    program = (
        "import collections, datetime, functools, heapq, itertools, json, math, random, re\n"
        "import statistics, string, bisect, copy, decimal, fractions, operator, textwrap, typing\n"
        "answer = math.sqrt(16)"
    )
    assert outcome_of(program, "assert answer == 4").passed


def test_what_stands_under_main_is_not_run() -> None:
    program = FINE + "\nif __name__ == '__main__':\n    print(double(int(input())))"
    assert outcome_of(program, "assert double(2) == 4").passed


@pytest.mark.parametrize(
    "leaving",
    ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "quit()"],
)
def test_leaving_before_the_checks_is_not_passing(leaving: str) -> None:
    assert not outcome_of(f"{FINE}\n{leaving}", "assert double(2) == 4").passed


def test_leaving_in_the_middle_of_the_checks_is_not_passing() -> None:
    program = "import os\ndef double(n):\n    os._exit(0)"
    assert not outcome_of(program, "assert double(2) == 5").passed


def test_a_program_that_prints_a_success_has_not_passed() -> None:
    program = 'import os\nfor fd in range(64):\n    try: os.write(fd, b\'{"token": "0"}\')\n'
    program += "    except OSError: pass\nos._exit(0)"
    assert not outcome_of(program, "assert False").passed


def test_an_endless_loop_is_ended() -> None:
    began = time.monotonic()
    assert "still running" in outcome_of("while True: pass", wall_seconds=1.0).why
    assert "still running" in outcome_of("import time; time.sleep(60)", wall_seconds=0.5).why
    assert time.monotonic() - began < 5


def test_a_fork_bomb_does_not_go_off() -> None:
    bomb = "import os\nwhile True:\n    os.fork()"
    assert "BlockingIOError" in outcome_of(bomb).why


def test_a_thread_more_is_too_many() -> None:
    program = "import threading\nthreading.Thread(target=print).start()"
    assert "can't start new thread" in outcome_of(program).why


def test_a_memory_hog_gets_no_more_than_its_share() -> None:
    assert "MemoryError" in outcome_of("hog = bytearray(1 << 30)").why


def test_huge_output_goes_nowhere_and_harms_nobody() -> None:
    program = FINE + "\nprint('x' * (1 << 24))\nimport sys\nsys.stderr.write('y' * (1 << 24))"
    assert outcome_of(program, "assert double(2) == 4").passed


def test_a_huge_message_is_cut() -> None:
    assert len(outcome_of("raise ValueError('x' * 1000000)").why) <= 200


def test_there_is_no_input_to_wait_for() -> None:
    assert "EOFError" in outcome_of("name = input()").why


def test_the_environment_holds_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hush")
    program = "import os\nseen = dict(os.environ)\nwith open('/proc/self/environ') as f:\n"
    program += "    raw = f.read()"
    checks = "assert 'HF_TOKEN' not in seen and 'hush' not in raw, seen"
    assert outcome_of(program, checks).passed


def test_files_it_writes_are_small_and_gone_afterwards() -> None:
    program = "import os\nplace = os.getcwd()\nwith open('note.txt', 'w') as f:\n    f.write('hi')"
    assert outcome_of(program, "assert os.listdir() == ['note.txt']").passed
    too_large = "with open('big', 'wb') as f:\n    f.write(b'x' * (1 << 20))"
    assert "OSError" in outcome_of(too_large).why


def test_it_starts_in_an_empty_folder_of_its_own() -> None:
    assert outcome_of("import os", "assert os.listdir() == []").passed


def test_nothing_outside_its_folder_can_be_changed(tmp_path: Path) -> None:
    needs("no_writing")
    tmp_path.chmod(0o777)
    mine = tmp_path / "mine.txt"
    mine.write_text("kept")
    mine.chmod(0o666)
    for harm in (f"open({str(mine)!r}, 'w')", f"import os; os.remove({str(mine)!r})"):
        assert not outcome_of(harm).passed
    assert mine.read_text() == "kept"


def test_there_is_no_network() -> None:
    needs("no_network")
    program = "import socket\nsocket.socket().connect(('127.0.0.1', 80))"
    assert "Network is unreachable" in outcome_of(program).why


def test_nothing_it_started_outlives_it(tmp_path: Path) -> None:
    """Also where it has left its session and its parent."""
    tmp_path.chmod(0o777)
    program = "import os\nos.setsid()\nimport time\ntime.sleep(60)"
    before = processes()
    assert not outcome_of(program, wall_seconds=0.5).passed
    started = processes() - before  # other tests' too, which end by themselves
    deadline = time.monotonic() + 20
    while started & processes():
        assert time.monotonic() < deadline, "something still sleeps"
        time.sleep(0.1)


def processes() -> set[str]:
    """Those that run ``confined.py``, by number."""
    found = set()
    for entry in PROCESSES.iterdir() if PROCESSES.is_dir() else ():
        try:
            if entry.name.isdigit() and b"confined.py" in (entry / "cmdline").read_bytes():
                found.add(entry.name)
        except OSError:
            continue
    return found


def test_the_walls_are_tried_out() -> None:
    assert walls() == walls()
