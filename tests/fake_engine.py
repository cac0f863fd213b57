"""An engine without a model: it answers with what it was asked, word by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selfhood.engine.types import Delta, Request


class FakeEngine:
    """Remembers every request; a reply is ``<speaker>: <last message>``."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        for index, request in enumerate(requests):
            self.requests.append(request)
            words = f"{request.adapter or 'base'}: {request.messages[-1].content}".split(" ")
            for number, word in enumerate(words, start=1):
                if number < len(words):
                    yield Delta(index=index, text=f"{word} ", num_tokens=1)
                else:
                    yield Delta(index=index, text=word, num_tokens=1, finish="stop")
