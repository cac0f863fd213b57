"""The routes: each reads its request, asks, and writes the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from selfhood.errors import InputError
from selfhood.serve.answers import Answer, ChatAnswer, CompletionAnswer, usage_of
from selfhood.serve.event_stream import EventStream
from selfhood.serve.fields import Fields, read_object
from selfhood.serve.front import Front
from selfhood.serve.presence import Gone, while_connected
from selfhood.serve.protocol import Asked, Terms, read_chat, read_completion
from selfhood.serve.refusal import Refusal, internal, invalid
from selfhood.serve.replies import Piece, fold
from selfhood.serve.service import Service
from selfhood.serve.speakers import Speakers

Reading = Callable[[Mapping[str, Any], Speakers, Terms], Asked]
Writing = Callable[..., Answer]
JSON = "application/json"
OWNER = "selfhood"


def make_app(service: Service) -> Front:
    """The server as an ASGI application."""

    def route(path: str, answer: Callable[..., Any], *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            response: Response = await answer(request, service)
            return response

        return Route(path, endpoint, methods=list(methods))

    chat = partial(generate, read=read_chat, write=ChatAnswer)
    completion = partial(generate, read=read_completion, write=CompletionAnswer)
    routes = [
        route("/health", health, "GET"),
        route("/ready", ready, "GET"),
        route("/metrics", metrics, "GET"),
        route("/v1/models", models, "GET"),
        route("/v1/models/{name:path}", model, "GET"),
        route("/v1/chat/completions", chat, "POST"),
        route("/v1/completions", completion, "POST"),
        route("/v1/load_lora_adapter", load_adapter, "POST"),
        route("/v1/unload_lora_adapter", unload_adapter, "POST"),
    ]
    return Front(Router(routes, redirect_slashes=False), service, [each.path for each in routes])


async def health(request: Request, service: Service) -> Response:
    """The process is alive."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request, service: Service) -> Response:
    """New requests are welcome."""
    if service.admission.is_draining:
        return JSONResponse({"status": "shutting down"}, 503)
    return JSONResponse({"status": "ready"})


async def metrics(request: Request, service: Service) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def models(request: Request, service: Service) -> Response:
    table = [_model(name, service) for name in service.speakers.names]
    return JSONResponse({"object": "list", "data": table})


async def model(request: Request, service: Service) -> Response:
    name = service.speakers.find(request.path_params["name"]).name
    return JSONResponse(_model(name, service))


def _model(name: str, service: Service) -> dict[str, Any]:
    base = service.speakers.base.name
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": OWNER,
        "root": base,
        "parent": None if name == base else base,
    }


async def generate(
    request: Request, service: Service, *, read: Reading, write: Writing
) -> Response:
    """A reply, whole or as it comes; either is made of the same pieces."""
    since = time.monotonic()
    deadline = asyncio.get_running_loop().time() + service.seconds
    service.admission.check()
    async with asyncio.timeout_at(deadline):
        table = await _read_json(request, service)
        asked = read(table, service.speakers, service.terms)
        answer = write(asked.speaker.name, tells_chances=asked.tells_chances)
        pieces = _observed(_refusing(service, asked), asked, service, since)
        async with while_connected(request.receive):
            if not asked.streams:
                async with aclosing(pieces):
                    choices = fold([piece async for piece in pieces], len(asked.requests))
                usage = usage_of(choices, asked.num_per_prompt)
                return JSONResponse(answer.whole(choices, usage))
            # What the engine refuses is answered with a status of its own.
            first = await anext(pieces)
    return EventStream(asked, answer, _chained(first, pieces), deadline=deadline)


async def _chained(first: Piece, rest: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    async with aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


async def _refusing(service: Service, asked: Asked) -> AsyncGenerator[Piece, None]:
    """The pieces; what the engine cannot do, in OpenAI's words."""
    try:
        async with aclosing(service.pieces(asked)) as pieces:
            async for piece in pieces:
                yield piece
    except InputError as error:
        raise invalid(f"{error.what[:1].upper()}{error.what[1:]}.") from error
    except (Refusal, asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        service.log.failed(error)
        raise internal() from error


async def _observed(
    pieces: AsyncGenerator[Piece, None], asked: Asked, service: Service, since: float
) -> AsyncGenerator[Piece, None]:
    """The pieces, with what metrics want to know of them."""
    name, counted, has_begun = asked.speaker.name, Piece(index=0), False
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if not has_begun:
                    service.metrics.began(name, since)
                    has_begun = True
                counted += piece
                yield piece
    finally:
        service.metrics.ended(
            name,
            since,
            num_prompt_tokens=counted.num_prompt_tokens,
            num_tokens=counted.num_tokens,
        )


async def load_adapter(request: Request, service: Service) -> Response:
    """``{"lora_name": NAME}``: the adapter of that name below the root."""
    name = await _adapter_name(request, service)
    await asyncio.to_thread(service.speakers.load, name)
    service.log.told(f"loaded   {name}")
    return JSONResponse(_model(name, service))


async def unload_adapter(request: Request, service: Service) -> Response:
    name = await _adapter_name(request, service)
    await asyncio.to_thread(service.speakers.unload, name)
    service.log.told(f"unloaded {name}")
    return JSONResponse({"id": name, "object": "model", "deleted": True})


async def _adapter_name(request: Request, service: Service) -> str:
    fields = Fields(await _read_json(request, service))
    name = fields.needed_text("lora_name")
    if fields.take("lora_path") is not None:
        raise invalid("No paths are taken: name an adapter of --adapters_root.", "lora_path")
    fields.end({})
    return name


async def _read_json(request: Request, service: Service) -> dict[str, Any]:
    """The body, bounded. A form is refused: any web page could send one here."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Refusal(415, f"The body must be {JSON}.", code="unsupported_media_type")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > service.most_bytes:
                raise Refusal(
                    413,
                    f"The body is larger than {service.most_bytes} bytes.",
                    code="body_too_large",
                    headers={"Connection": "close"},
                )
    except ClientDisconnect as error:
        raise Gone from error
    table = read_object(bytes(body))
    service.log.asked(request.url.path, table)
    return table
