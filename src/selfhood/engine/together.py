"""Several answers that are read at once, each in a thread of its own -> one stream."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from selfhood.engine.wire import Hangup

Piece = TypeVar("Piece")
Source = Callable[[Hangup], Iterator[Piece]]


def together(sources: Sequence[Source[Piece]], most_at_once: int) -> Iterator[Piece]:
    """The pieces of all sources as they come, of so many at once. The first error ends the stream,
    and so does closing it; either hangs up on those that are still talking."""
    pieces: queue.SimpleQueue[Piece | Exception | None] = queue.SimpleQueue()
    hangup = Hangup()

    def read(source: Source[Piece]) -> None:
        try:
            for piece in source(hangup):
                pieces.put(piece)
            pieces.put(None)
        except Exception as error:
            pieces.put(error)

    pool = ThreadPoolExecutor(max_workers=min(max(len(sources), 1), most_at_once))
    try:
        for source in sources:
            pool.submit(read, source)
        num_open = len(sources)
        while num_open:
            piece = pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                num_open -= 1
            else:
                yield piece
    finally:
        hangup.now()
        pool.shutdown(wait=False, cancel_futures=True)
