"""Real processes that talk over gloo: what a function returns in each of them.

together(2, work, *args)        [work(world, *args) in one process, in the other]
as_launched(2, work, *args)     [work(*args), ...]: with torchrun's variables, no world joined yet

Forked from a process that has torch loaded already, which spares seconds. What they return is sent
by value: numpy arrays, not tensors.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from selfhood.training.world import join_world

T = TypeVar("T")
SECONDS = 60


def together(count: int, work: Callable[..., T], *args: Any, **options: Any) -> list[T]:
    """What each of ``count`` processes returned, by rank; a failure in one is a failure here."""

    def joined() -> T:
        with join_world() as world:
            return work(world, *args, **options)

    return as_launched(count, joined)


def as_launched(count: int, work: Callable[..., T], *args: Any, **options: Any) -> list[T]:
    context = multiprocessing.get_context("fork")
    port = _free_port()
    ends = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(
            target=_run, args=(end, _place(rank, count, port), lambda: work(*args, **options))
        )
        for rank, (_, end) in enumerate(ends)
    ]
    for process in processes:
        process.start()
    results = [_receive(mine) for mine, _ in ends]
    for process in processes:
        process.join(SECONDS)
    return results


def _place(rank: int, count: int, port: int) -> dict[str, str]:
    """As torchrun says it."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return where | {name: str(number) for name, number in numbers.items()}


def _run(end: Connection, place: dict[str, str], work: Callable[[], Any]) -> None:
    os.environ |= place
    try:
        end.send((True, work()))
    except BaseException:
        end.send((False, traceback.format_exc()))


def _receive(end: Connection) -> Any:
    assert end.poll(SECONDS), "a process does not answer"
    is_good, result = end.recv()
    assert is_good, result
    return result


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
