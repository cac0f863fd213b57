"""Many threads, one model: whoever needs the next token computes it for all.

No thread of its own stands behind an engine that could be left over, die unseen or go on when
nobody listens. Of the threads that wait for words one makes the next pass, for every row there is;
then all look into their inboxes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import Condition


class Turns:
    """At most one thread works at a time."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._is_taken = False

    def work_until(self, is_there: Callable[[], bool], work: Callable[[], None]) -> None:
        """Work, or wait for others who do, until what this thread needs is there."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: is_there() or not self._is_taken)
                if is_there():
                    return
                self._is_taken = True
            with self._given_back():
                work()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block nobody else works."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_taken)
            self._is_taken = True
        with self._given_back():
            yield

    @contextlib.contextmanager
    def _given_back(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()
