"""A host without a model: words are its tokens, and what it says is what it was told.

    "hello there"      <speaker>: hello there
    "SAY a b"          a b
    "FOREVER"          word after word, as many as are allowed

A real ``Host``: threads may share it, and closing a stream ends it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfhood.engine.types import Chance, Delta, Passage, Request, Sampling
from selfhood.errors import InputError

VOCABULARY = 1000


class Parrot:
    """``pause`` is how many seconds a word takes."""

    def __init__(self, *speakers: str, pause: float = 0.0) -> None:
        self.pause = pause
        self.requests: list[Request] = []
        self.num_words = 0
        self.num_open = 0
        self.most_open = 0
        self._speakers = list(speakers)
        self._lock = threading.Lock()

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(self._speakers)

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        self.requests += requests
        for request in requests:
            self._check(request)
        with self._lock:
            self.num_open += 1
            self.most_open = max(self.most_open, self.num_open)
        try:
            for index, request in enumerate(requests):
                yield from self._reply(index, request)
        finally:
            with self._lock:
                self.num_open -= 1

    def _check(self, request: Request) -> None:
        if request.adapter is not None and request.adapter not in self._speakers:
            raise InputError(f"no adapter is called {request.adapter!r}")
        if "TOO LONG" in _asked(request):
            raise InputError("the talk is 9000 tokens long, the model holds 4096")
        if "BREAK" in _asked(request):
            raise RuntimeError(f"broken by {_asked(request)}")

    def _reply(self, index: int, request: Request) -> Iterator[Delta]:
        sampling = request.sampling
        words = list(itertools.islice(_words(request), sampling.max_new_tokens + 1))
        is_cut = len(words) > sampling.max_new_tokens
        words = words[: sampling.max_new_tokens]
        for number, word in enumerate(words):
            time.sleep(self.pause)
            self.num_words += 1
            yield Delta(
                index=index,
                text=word if number == 0 else f" {word}",
                num_tokens=0,
                chances=_chances(word, sampling),
            )
        yield Delta(
            index=index,
            text="",
            num_tokens=len(words),
            finish="length" if is_cut else "stop",
            num_prompt_tokens=len(_asked(request).split()),
        )

    def score(self, passages: Sequence[Passage]) -> list[tuple[Chance, ...]]:
        scored = []
        for passage in passages:
            tokens = _tokens(passage.text)
            if not passage.prompt:
                tokens = tokens[1:]
            others = tuple((f"w{number}", -1.0) for number in range(passage.num_logprobs))
            scored.append(tuple(Chance(token=t, logprob=-len(t), others=others) for t in tokens))
        return scored

    def add_speaker(self, name: str, folder: Path) -> None:
        if not (folder / "adapter_model.safetensors").is_file():
            raise InputError("holds no adapter_model.safetensors", where=str(folder))
        self._speakers.append(name)

    def remove_speaker(self, name: str) -> None:
        self._speakers.remove(name)

    def close(self) -> None:
        pass


def _asked(request: Request) -> str:
    if request.text is not None:
        return "".join(_tokens(request.text))
    return request.messages[-1].content


def _tokens(text: str | tuple[int, ...]) -> list[str]:
    """Each with the space before it."""
    if not isinstance(text, str):
        return [f" t{number}" for number in text]
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


def _words(request: Request) -> Iterator[str]:
    asked = _asked(request)
    if asked == "FOREVER":
        return (f"word{number}" for number in itertools.count())
    if asked.startswith("SAY "):
        return iter(asked.removeprefix("SAY ").split(" "))
    return iter(f"{request.adapter or 'base'}: {asked}".split(" "))


def _chances(word: str, sampling: Sampling) -> tuple[Chance, ...]:
    if sampling.num_logprobs is None:
        return ()
    others = tuple((f"w{number}", -float(number)) for number in range(sampling.num_logprobs))
    return (Chance(token=word, logprob=-0.5, others=others),)
