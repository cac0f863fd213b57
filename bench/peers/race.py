"""One command, watched from outside: when each update was logged, seconds in all, peak memory.

The stopwatch is the same for every tool. It looks at the tool's log fifty times a second; memory is
the system's own record of the largest process of the command, so that nobody is charged for pages
that two processes share. (A child starts with its parent's size on record, so nothing large may be
imported here.)
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.environment import programs
from bench.peers.findings import Finding, Stamp
from bench.peers.tool import STDOUT, Task, Tool

TICK = 0.02  # seconds
GRACE = 10.0  # seconds from SIGTERM to SIGKILL
TAIL = 3000  # characters of a failed command's output
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(slots=True)
class Watch:
    """The log of a running tool."""

    tool: Tool
    folder: Path
    started: float
    stamps: list[Stamp] = field(default_factory=list)
    _seen: int = 0

    def look(self) -> None:
        """Stamp what has been logged since the last look."""
        path = next(iter(self.folder.glob(self.tool.log)), None)
        if path is None or path.stat().st_size == self._seen:
            return
        now = time.monotonic() - self.started
        with path.open("rb") as file:
            file.seek(self._seen)
            fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._seen += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            logged = self.tool.read(line, len(self.stamps))
            if logged is not None:
                self.stamps.append(Stamp(update=logged.update, loss=logged.loss, at=now))


def race(tool: Tool, task: Task, root: Path, output: Path) -> Finding:
    """Run the tool's command to its end. ``root`` holds the tools' environments."""
    output.mkdir(parents=True)
    program, *words = tool.argv(task, output)
    environment = {**os.environ, **OFFLINE, "HF_HOME": str(root / "hf"), **tool.variables}
    started = time.monotonic()
    with (output / STDOUT).open("wb") as stdout:
        process = subprocess.Popen(
            [programs(tool.environment, root) / program, *words],
            env=environment,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    watch = Watch(tool, output, started)
    with _ended_after(process):
        while (usage := _end(process)) is None:
            watch.look()
            time.sleep(TICK)
    watch.look()
    seconds = time.monotonic() - started
    if process.returncode or not watch.stamps:
        said = (output / STDOUT).read_text(errors="replace")[-TAIL:]
        raise SystemExit(f"{said}\n{tool.name} ended with {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return Finding(
        tool=tool.name,
        stamps=tuple(watch.stamps),
        seconds=seconds,
        peak_gib=usage.ru_maxrss * unit / 2**30,
    )


def _end(process: subprocess.Popen[bytes]) -> resource.struct_rusage | None:
    """What the process and those it waited for have used, once it is over."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if pid == 0:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


@contextlib.contextmanager
def _ended_after(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever happens in the block, nothing of the process's group outlives it."""
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            _wait(process)


def _wait(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + GRACE
    while process.returncode is None and time.monotonic() < deadline:
        _end(process)
        time.sleep(TICK)


def end_on_signals() -> None:
    """SIGTERM and SIGHUP end the bench as Ctrl-C does: by way of its ``finally`` blocks."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
