"""The only module that prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

SECONDS_BETWEEN_LINES = 10.0


def say(text: str = "") -> None:
    """A line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    say(paint(f"warning: {text}", "33"))


def fail(text: str) -> None:
    """One line, whatever a library has put into the message."""
    say(f"{paint('selfhood:', '31')} {' '.join(text.split())}")


def forgive_encodings() -> None:
    """A terminal or a pipe that cannot hold a character gets ``?`` in its place, not a crash."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Within the block nothing is printed, by libraries either: another process says the same."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def result(text: str, end: str = "\n") -> None:
    """What was asked for: the only thing a pipe sees."""
    print(text, end=end, flush=True)


def ask(prompt: str, source: TextIO) -> str | None:
    """A line from ``source``, or None at its end. At a terminal: a prompt and line editing."""
    if source.isatty() and not sys.stdout.isatty():  # input() would write the prompt to the pipe
        print(prompt, end="", file=sys.stderr, flush=True)
    if not (source.isatty() and sys.stdout.isatty()):
        line = source.readline()
        return line.rstrip("\r\n") if line else None
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401  its import is what makes input() edit lines
    try:
        return input(prompt)
    except EOFError:
        say()
        return None


def paint(text: str, code: str, stream: TextIO | None = None) -> str:
    """Colour on a terminal only, and never with NO_COLOR."""
    if os.environ.get("NO_COLOR") or not (stream or sys.stderr).isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def is_terminal() -> bool:
    return sys.stderr.isatty()


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stderr, wrapped to the terminal's width; wide characters count twice."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(show_lines=True)
    for name in header:
        grid.add_column(name, overflow="fold")
    for row in rows:
        grid.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console(file=sys.stderr, width=None if is_terminal() else 110).print(grid)


def clock(seconds: float) -> str:
    """``75`` -> ``1m 15s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


class Progress:
    """One bar with an ETA: redrawn on a terminal, a line now and then elsewhere.

    with Progress("training", total=24, unit="update") as bar:
        bar.advance(1, note="loss 1.23")
    """

    def __init__(self, title: str, *, total: int, unit: str = "", done: int = 0) -> None:
        self.title = title
        self.total = max(total, 1)
        self.unit = unit
        self.done = done
        self._done_before = done
        self.note = ""
        self._started = time.monotonic()
        self._shown = -SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._show()
        if is_terminal():
            print(file=sys.stderr, flush=True)

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self.move_to(self.done + steps, note=note)

    def move_to(self, done: int, *, note: str | None = None) -> None:
        self.done = min(done, self.total)
        self.note = self.note if note is None else note
        self._draw()

    def _draw(self) -> None:
        """Show the bar unless it was shown just now; its end is shown on leaving the block."""
        pause = 0.1 if is_terminal() else SECONDS_BETWEEN_LINES
        if self.done < self.total and time.monotonic() - self._shown >= pause:
            self._show()

    def _show(self) -> None:
        self._shown = now = time.monotonic()
        if is_terminal():
            print(f"\r\x1b[2K{self._line(now)}", end="", file=sys.stderr, flush=True)
        else:
            say(self._line(now))

    def _line(self, now: float) -> str:
        share = self.done / self.total
        passed = now - self._started
        done_here = self.done - self._done_before
        if done_here and self.done < self.total:
            left = passed / done_here * (self.total - self.done)
            timing = f"{clock(passed)}, {clock(left)} left"
        else:
            timing = clock(passed)
        filled = round(share * 20)
        bar = "█" * filled + "░" * (20 - filled)
        count = f"{self.done}/{self.total} {self.unit}".rstrip()
        return "  ".join(part for part in (self.title, bar, count, timing, self.note) if part)
