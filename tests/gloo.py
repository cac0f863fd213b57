"""Real processes that talk over gloo: what a function returns in each of them.

results = together(2, work, *args)      work(world, *args) runs in two new processes

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
from typing import Any, Concatenate, ParamSpec, TypeVar

from selfhood.training.world import World, join_world

P = ParamSpec("P")
T = TypeVar("T")
SECONDS = 60


def together(
    count: int, work: Callable[Concatenate[World, P], T], *args: P.args, **options: P.kwargs
) -> list[T]:
    """What each of ``count`` processes returned, by rank; a failure in one is a failure here."""
    context = multiprocessing.get_context("fork")
    port = _free_port()
    ends = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_run, args=(end, rank, count, port, work, args, options))
        for rank, (_, end) in enumerate(ends)
    ]
    for process in processes:
        process.start()
    results = [_receive(mine) for mine, _ in ends]
    for process in processes:
        process.join(SECONDS)
    return results


def _run(
    end: Connection,
    rank: int,
    count: int,
    port: int,
    work: Callable[..., Any],
    args: Any,
    options: Any,
) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with join_world() as world:
            result = work(world, *args, **options)
            end.send((True, result))
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
