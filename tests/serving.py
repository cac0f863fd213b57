"""A server in a thread, on a port of its own: ``with served(host) as server: server.url``."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from selfhood.engine.types import Host, Sampling
from selfhood.serve.admission import Admission
from selfhood.serve.door import Door
from selfhood.serve.log import Log
from selfhood.serve.metrics import Metrics
from selfhood.serve.protocol import Terms
from selfhood.serve.server import Server, address_of, bind
from selfhood.serve.service import Service
from selfhood.serve.speakers import Speaker, Speakers

BASE = "tiny"


@dataclass(frozen=True)
class Running:
    """A server that answers at ``url``."""

    url: str
    service: Service
    server: Server
    loop: asyncio.AbstractEventLoop

    def client(self, **options: object) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=30, trust_env=False, **options)  # type: ignore[arg-type]

    def drain(self) -> None:
        self.loop.call_soon_threadsafe(self.server.drain)


@contextmanager
def served(
    host: Host,
    *,
    key: str | None = None,
    root: Path | None = None,
    model_path: Path = Path(),
    systems: dict[str, str] | None = None,
    terms: Terms | None = None,
    most_running: int = 16,
    most_waiting: int = 64,
    most_bytes: int = 1 << 20,
    seconds: float = 30,
    log: Log | None = None,
) -> Iterator[Running]:
    admission = Admission(most_running=most_running, most_waiting=most_waiting)
    adapters = [
        Speaker(name=name, adapter=name, system=(systems or {}).get(name)) for name in host.speakers
    ]
    service = Service(
        host=host,
        speakers=Speakers(host, [Speaker(name=BASE), *adapters], model_path=model_path, root=root),
        terms=terms or Terms(defaults=Sampling(max_new_tokens=64)),
        door=Door(key),
        admission=admission,
        metrics=Metrics(admission),
        log=log or Log(),
        most_bytes=most_bytes,
        seconds=seconds,
        started=int(time.time()),
    )
    listener = bind("127.0.0.1", 0)
    server = Server(service)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve([listener]),))
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Running(address_of(listener), service, server, loop)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(20)
        loop.close()
        listener.close()


def wait_until(is_so: object, seconds: float = 10.0) -> None:
    """Raise unless it becomes so in time."""
    assert callable(is_so)
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not become so in time"
        time.sleep(0.005)
