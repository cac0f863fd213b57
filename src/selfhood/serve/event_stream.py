"""Server-sent events: a reply in chunks, as OpenAI streams it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from selfhood.serve.answers import Answer, usage_of
from selfhood.serve.presence import while_connected
from selfhood.serve.protocol import Asked
from selfhood.serve.refusal import Refusal, too_slow
from selfhood.serve.replies import Piece

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
LAST_SECONDS = 5
DONE = b"data: [DONE]\n\n"


class EventStream(Response):
    """``pieces`` raises nothing but Refusal; by then the status has been sent, so an error is the
    last event. ``deadline`` is in the loop's time."""

    media_type = "text/event-stream"

    def __init__(
        self, asked: Asked, answer: Answer, pieces: AsyncGenerator[Piece, None], *, deadline: float
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._asked = asked
        self._answer = answer
        self._pieces = pieces
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with (
                asyncio.timeout_at(self._deadline),
                while_connected(receive),
                aclosing(self._pieces),
            ):
                async for event in self._events():
                    await send(_body(event, more=True))
        except Refusal as refusal:
            await _end(send, _event(refusal.body()))
        except TimeoutError:
            await _end(send, _event(too_slow().body()))
        else:
            await _end(send)

    async def _events(self) -> AsyncIterator[bytes]:
        num_choices = len(self._asked.requests)
        choices = [Piece(index=index) for index in range(num_choices)]
        for chunk in self._answer.opening(num_choices):
            yield _event(chunk)
        async for piece in self._pieces:
            choices[piece.index] += _counts(piece)
            yield _event(self._answer.chunk(piece))
        if self._asked.tells_usage:
            usage = usage_of(choices, self._asked.num_per_prompt)
            yield _event(self._answer.usage_chunk(usage))
        yield DONE


def _counts(piece: Piece) -> Piece:
    """Without what has been sent."""
    return Piece(
        index=piece.index,
        num_tokens=piece.num_tokens,
        num_prompt_tokens=piece.num_prompt_tokens,
    )


def _event(table: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(table, ensure_ascii=False, allow_nan=False)}\n\n".encode()


async def _end(send: Send, last: bytes = b"") -> None:
    """Who does not read is not waited for."""
    async with asyncio.timeout(LAST_SECONDS):
        await send(_body(last, more=False))


def _body(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}
