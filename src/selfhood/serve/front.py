"""Every request passes here: first the key, then the answer, and mistakes in OpenAI's form."""

from __future__ import annotations

import time
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfhood.serve.presence import Gone
from selfhood.serve.refusal import Refusal, internal, too_slow
from selfhood.serve.service import Service

HTTP_WORDS = {404: "There is no such page.", 405: "This page does not take that method."}


class Front:
    """``routes`` are the paths that metrics tell apart."""

    def __init__(self, inner: ASGIApp, service: Service, routes: Collection[str]) -> None:
        self._inner = inner
        self._service = service
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        since, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            try:
                self._service.door.check(scope["path"], scope["headers"])
                await self._inner({**scope, "app": self}, receive, watched)
            except Refusal as refusal:
                await _refuse(refusal, scope, receive, watched)
            except HTTPException as error:
                words = HTTP_WORDS.get(error.status_code, error.detail)
                other = Refusal(error.status_code, words, headers=error.headers)
                await _refuse(other, scope, receive, watched)
            except TimeoutError:
                if not status:
                    await _refuse(too_slow(), scope, receive, watched)
            except Gone:
                self._service.metrics.hung_up()
            except Exception as error:
                self._service.log.failed(error)
                if not status:
                    await _refuse(internal(), scope, receive, watched)
        finally:
            route = scope["path"] if scope["path"] in self._routes else "other"
            self._service.metrics.answered(route, status)
            self._service.log.answered(route, status, time.monotonic() - since)


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    response = JSONResponse(refusal.body(), refusal.status, refusal.headers)
    await response(scope, receive, send)
