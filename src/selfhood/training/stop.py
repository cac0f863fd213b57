"""Ctrl-C and SIGTERM, turned into a question that the loop asks where it may stop.

An update that is cut in the middle is thrown away; what was learnt before it is saved. A second
Ctrl-C does not wait.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from selfhood.console import say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopAskedError(Exception):
    """Somebody wants the run to end; raised between two passes."""


class StopSignals:
    """Listens within its block. Only the main thread hears signals; elsewhere nothing changes."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        say("\nstopping after this pass, and saving; once more to stop at once")
