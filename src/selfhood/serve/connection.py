"""A connection that nobody can hold open for nothing.

uvicorn bounds neither how long a client takes for its headers nor how long it leaves an answer
unread. What holds a connection too long here is cut off.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512
HEADER_SECONDS = 30.0
UNREAD_SECONDS = 60.0


class Connection(H11Protocol):
    """As uvicorn's, with a clock on what the client has still to do."""

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._expect_within(HEADER_SECONDS)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._expect_nothing()
        elif self._due is None:  # a next request has begun
            self._expect_within(HEADER_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_within(UNREAD_SECONDS)

    def resume_writing(self) -> None:
        self._expect_nothing()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._due = self.loop.call_later(seconds, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
