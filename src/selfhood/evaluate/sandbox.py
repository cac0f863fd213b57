"""A program that a model wrote, run where it can do little harm.

    this process ── JSON ──> python -I -S confined.py    its own session, an empty folder and
                 <── JSON ──                             environment, walls (see ``confined``)

Guaranteed everywhere: it ends by the deadline, with the processes of its session; limits on CPU
time, memory, file size, open files and processes; nothing of this process's environment; no input;
its output is bounded. It has passed only when it hands back a token that is sent for this one run
and returned after the last check: leaving early is not passing.

Where Linux lets an ordinary user make namespaces: no network, nothing outside its folder can be
changed, and no process survives it. ``walls`` says which of these stand here. Not guaranteed: that
it cannot read what this user can read, and that a program which looks for the token to forge it
would not find it. POSIX only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from selfhood.errors import SelfhoodError

CONFINED = Path(__file__).with_name("confined.py")
CPU_SECONDS = 4
WALL_SECONDS = 10.0
LONGEST_REPORT = 4096  # bytes
# An address for documents, RFC 5737: nothing is sent, but a route to it is asked for.
CONNECTING = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``why`` is one line; empty where every check passed."""

    passed: bool
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What stands on this system besides limits and deadline."""

    no_network: bool
    no_writing: bool


def run_checked(program: str, checks: str, *, wall_seconds: float = WALL_SECONDS) -> Outcome:
    """Run ``program``, then ``checks`` on the names it defined. Takes some 0.1 s."""
    token = secrets.token_hex(16)
    task = {"program": program, "checks": checks, "token": token, "cpu_seconds": CPU_SECONDS}
    with (
        tempfile.TemporaryDirectory(prefix="selfhood-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as report,
    ):
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(CONFINED)],
            cwd=folder,
            env={},
            stdin=subprocess.PIPE,
            stdout=report,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.communicate(json.dumps(task).encode(), timeout=wall_seconds)
        except subprocess.TimeoutExpired:
            return Outcome(passed=False, why=f"still running after {wall_seconds:g} s")
        finally:
            _end(process)
        report.seek(0)
        return _outcome(report.read(LONGEST_REPORT), token)


def walls() -> Walls:
    """Tried out. Raises SelfhoodError where not even a harmless program runs."""
    harmless = run_checked("answer = 42", "assert answer == 42")
    if not harmless.passed:
        raise SelfhoodError(f"model-written code cannot be run here: {harmless.why}")
    outside = str(Path(tempfile.gettempdir()) / f"selfhood-{secrets.token_hex(8)}")
    return Walls(
        no_network=_is_refused("import socket", CONNECTING),
        no_writing=_is_refused("import os", f"open({outside!r}, 'x'); os.remove({outside!r})"),
    )


def _is_refused(needs: str, attempt: str) -> bool:
    program = (
        f"{needs}\ntry:\n    {attempt}\n    refused = False\nexcept OSError:\n    refused = True"
    )
    return run_checked(program, "assert refused").passed


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole session, whatever it has started meanwhile."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _outcome(report: bytes, token: str) -> Outcome:
    try:
        told = json.loads(report)
    except ValueError:
        return Outcome(passed=False, why="ended before its checks, or ran out of time or memory")
    if told.get("token") == token:
        return Outcome(passed=True)
    return Outcome(passed=False, why=" ".join(str(told.get("error", "forged a report")).split()))
