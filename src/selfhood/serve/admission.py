"""Who is answered now, who waits, and who is sent away: a bounded room before the engine.

Lives in the event loop; nothing here is shared between threads.
"""

from __future__ import annotations

import asyncio
import math
import time

from selfhood.serve.refusal import busy

LONGEST_RETRY_SECONDS = 60
DRAINING_RETRY_SECONDS = 5


class Seat:
    """The right to ask the engine; given back once, whoever does it first."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._since = time.monotonic()
        self._is_taken = True

    def leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._admission.left(time.monotonic() - self._since)


class Admission:
    """``most_running`` requests are answered at once, ``most_waiting`` wait for that in line."""

    def __init__(self, *, most_running: int, most_waiting: int) -> None:
        self.most_running = most_running
        self.most_waiting = most_waiting
        self.running = 0
        self.waiting = 0
        self.is_draining = False
        self._seats = asyncio.Semaphore(most_running)
        self._empty = asyncio.Event()
        self._empty.set()
        self._mean_seconds = 1.0

    def check(self) -> None:
        """Raise for a request that would be sent away, before its body is read."""
        if self.is_draining:
            raise busy("The server is shutting down.", seconds=DRAINING_RETRY_SECONDS,
                       code="shutting_down", status=503)  # fmt: skip
        if self._seats.locked() and self.waiting >= self.most_waiting:
            raise busy("The server is busy: its queue is full.", seconds=self.retry_seconds,
                       code="queue_full", status=429)  # fmt: skip

    @property
    def retry_seconds(self) -> int:
        """About when those who wait now will have been answered."""
        seconds = self._mean_seconds * (self.waiting + 1) / self.most_running
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY_SECONDS)

    async def enter(self) -> Seat:
        """A seat, as soon as one is free. Raises a Refusal where too many wait already."""
        self.check()
        self.waiting += 1
        try:
            await self._seats.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        self._empty.clear()
        return Seat(self)

    def left(self, seconds: float) -> None:
        """A seat is free again after so long."""
        self._mean_seconds = 0.9 * self._mean_seconds + 0.1 * seconds
        self.running -= 1
        self._seats.release()
        if not self.running:
            self._empty.set()

    async def drain(self) -> None:
        """Send new requests away; return when all others, those that wait too, are answered."""
        self.is_draining = True
        while self.running or self.waiting:
            await self._empty.wait()
            await asyncio.sleep(0)
