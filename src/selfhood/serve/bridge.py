"""A blocking iterator in a thread of its own -> the event loop.

The thread never waits for a reader: what it has is kept until it is fetched, which a reply's length
bounds. So a slow reader costs memory, not a place in the engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from typing import Protocol, TypeVar

Item = TypeVar("Item", covariant=True)


class Closable(Iterator[Item], Protocol[Item]):
    """A generator, or what behaves like one."""

    def close(self) -> None: ...


async def bridged(
    begin: Callable[[], Closable[Item]], on_end: Callable[[], None]
) -> AsyncGenerator[Item, None]:
    """The items of ``begin()``. Closing this one makes the thread close that one before it takes
    another item; ``on_end`` is called, in the loop, when that has happened."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[Item | BaseException | None] = asyncio.Queue()
    nobody_listens = threading.Event()

    def post(item: Item | BaseException | None) -> None:
        loop.call_soon_threadsafe(inbox.put_nowait, item)

    def work() -> None:
        try:
            with closing(begin()) as items:
                for item in items:
                    if nobody_listens.is_set():
                        break
                    post(item)
            post(None)
        except BaseException as error:  # whatever it is, somebody waits to hear of it
            post(error)
        finally:
            loop.call_soon_threadsafe(on_end)

    try:
        threading.Thread(target=work, name="reply", daemon=True).start()
    except RuntimeError:  # the system has no thread left
        on_end()
        raise
    try:
        while (item := await inbox.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        nobody_listens.set()
