"""Bars for work that reports itself by callback: ``(step, done, total)``."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from selfhood.console import Progress, say

HUNDRED = 100


class Steps:
    """One bar after another, each drawn in per cent; a step of unknown length is a line.

    with Steps() as steps:
        find_model(reference, hub=hub, on_progress=steps)
    """

    def __init__(self) -> None:
        self._step = ""
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(kind)

    def __call__(self, step: str, done: int, total: int, /) -> None:
        if step != self._step:
            self._close(None)
            self._step = step
            if total:
                self._bar = Progress(step, total=HUNDRED, unit="%").__enter__()
            else:
                say(f"{step} ...")
        if self._bar is not None:
            self._bar.move_to(HUNDRED * done // max(total, 1))

    def _close(self, kind: type[BaseException] | None) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, None, None)
        self._bar = None
