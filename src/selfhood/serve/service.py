"""What a running server consists of, and the way from a request that was read to its pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from selfhood.engine.types import Host
from selfhood.serve.admission import Admission
from selfhood.serve.bridge import Closable, bridged
from selfhood.serve.door import Door
from selfhood.serve.log import Log
from selfhood.serve.metrics import Metrics
from selfhood.serve.protocol import Asked, Terms
from selfhood.serve.replies import Piece, replies
from selfhood.serve.speakers import Speakers


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """``most_bytes`` bounds a body, ``seconds`` a request from its first byte to its last."""

    host: Host
    speakers: Speakers
    terms: Terms
    door: Door
    admission: Admission
    metrics: Metrics
    log: Log
    most_bytes: int
    seconds: float
    started: int
    """In seconds since 1970."""

    async def pieces(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """As they come, once a seat is free. Closing the iterator frees the seat."""
        seat = await self.admission.enter()

        def begin() -> Closable[Piece]:
            return cast(Closable[Piece], replies(self.host, asked))

        # Nothing is awaited between the seat and the thread that gives it back.
        async with aclosing(bridged(begin, seat.leave)) as pieces:
            async for piece in pieces:
                yield piece
