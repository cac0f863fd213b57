"""A server of somebody else's, run as our child: on loopback, behind a key that nobody else has.

It writes what it has to say into a pipe, of which the last lines are kept; it ends with us, however
we end (``leash``).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfhood.console import Progress, say
from selfhood.engine.wire import Wire
from selfhood.errors import SelfhoodError

LEASH = Path(__file__).with_name("leash.py")
LINES_KEPT = 12
SECONDS_TO_STOP = 10.0
SECONDS_TO_START = 1800.0
LONGEST_NOTE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is to be run. ``{port}`` in an argument becomes the port; the key goes into the
    environment, under ``key_variable``: other users can read arguments. ``health`` is the path that
    answers once it is up."""

    title: str
    python: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    key_variable: str
    health: str = "/health"
    hint: str | None = None


class Served:
    """A child that answers, once it is up; ``wire`` leads to it. Raises SelfhoodError, with its
    last lines said, if it ends before."""

    def __init__(self, program: Program) -> None:
        port = free_port()
        key = secrets.token_urlsafe(32)
        self.title = program.title
        self.wire = Wire(f"http://127.0.0.1:{port}", key=key)
        self._hint = program.hint
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        arguments = [each.replace("{port}", str(port)) for each in program.arguments]
        try:
            self._child = subprocess.Popen(
                [program.python, str(LEASH), program.module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **program.environment, program.key_variable: key},
                start_new_session=True,  # Ctrl-C is for us: it stops a reply, not the server
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise SelfhoodError(
                f"cannot be started: {error.strerror}", where=program.python, hint=program.hint
            ) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._wait_for(program.health)
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Raise if it has ended."""
        if self._child.poll() is not None:
            raise self._died()

    def close(self) -> None:
        """Ask it to end, and make it end. May be called again."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(SECONDS_TO_STOP)
        self._signal(signal.SIGKILL)  # whatever it started may still be there
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def _wait_for(self, path: str) -> None:
        started = time.monotonic()
        with Progress(f"starting {self.title}", total=1) as bar:
            while not self.wire.is_up(path):
                self.check()
                if time.monotonic() - started > SECONDS_TO_START:
                    raise SelfhoodError("does not come up", where=self.title)
                bar.move_to(0, note=self._lines[-1][:LONGEST_NOTE] if self._lines else "")
                time.sleep(0.2)
            bar.advance(note="")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)

    def _read(self) -> None:
        assert self._child.stdout is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self._child.stdout:
                if line.strip():
                    self._lines.append(line.rstrip())

    def _died(self) -> SelfhoodError:
        self._reader.join(timeout=2)
        say(f"the last lines of {self.title}:")
        for line in self._lines:
            say(f"  {line}")
        return SelfhoodError(
            f"has ended (exit {self._child.returncode})", where=self.title, hint=self._hint
        )


def free_port() -> int:
    """One that nobody listens on now. Should somebody take it first, the child cannot bind it and
    ends; and whoever it was never hears the key before."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
