"""A socket, the application behind it, and an end in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from selfhood.errors import FlagError
from selfhood.serve.app import make_app
from selfhood.serve.connection import Connection
from selfhood.serve.service import Service

SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNREAD_SECONDS = 10  # how long answers that are whole may still be read before the process ends
INTERRUPTED = 130


def bind(host: str, port: int) -> socket.socket:
    """Taken before anything is loaded; nobody is answered yet."""
    try:
        return _bound(host, port)
    except OSError as error:
        raise FlagError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            where="--port",
            hint="give another --port or --host",
        ) from error


def _bound(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, *_, address = found[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """The first signal: new requests are sent away, those under way are answered, the process ends
    well. The second: it ends at once."""

    def __init__(self, service: Service, *, log_interval: float = 0) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(service),
                http=Connection,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=UNREAD_SECONDS,
            )
        )
        self._service = service
        self._log_interval = log_interval
        self._draining: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """End well; said twice, at once."""
        if self._draining is not None:
            os._exit(INTERRUPTED)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        running = self._service.admission.running + self._service.admission.waiting
        self._service.log.told(f"ending   {running} under way; once more to end at once")
        await self._service.admission.drain()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own would end by the signal that it got, not with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.drain)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        reporting = asyncio.create_task(self._report())
        try:
            await super().serve(sockets)
        finally:
            reporting.cancel()
            with suppress(asyncio.CancelledError):
                await reporting

    async def _report(self) -> None:
        """A line now and then, where anything happened."""
        metrics, admission = self._service.metrics, self._service.admission
        while self._log_interval:
            requests, tokens = metrics.num_requests, metrics.num_tokens
            await asyncio.sleep(self._log_interval)
            if metrics.num_requests > requests or admission.running:
                rate = (metrics.num_tokens - tokens) / self._log_interval
                self._service.log.told(
                    f"served   {metrics.num_requests - requests} requests, {rate:.1f} tokens/s, "
                    f"{admission.running} running, {admission.waiting} waiting"
                )
