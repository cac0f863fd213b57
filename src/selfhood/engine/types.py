"""Request, Delta, Reply: the one way to an answer, streamed or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from selfhood.chat import Message

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 are off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 2048
    stop: tuple[str, ...] = ()
    seed: int = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question. ``adapter`` names the identity that answers; None is the base model."""

    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of reply ``index``; the last one of a reply carries ``finish``."""

    index: int
    text: str
    num_tokens: int
    finish: Finish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer."""

    text: str
    num_tokens: int
    finish: Finish


class Engine(Protocol):
    """Whatever answers."""

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]: ...


def fold(deltas: Iterable[Delta], num_replies: int) -> list[Reply]:
    """Streamed pieces -> whole replies, in the order of their requests."""
    texts = [""] * num_replies
    tokens = [0] * num_replies
    finishes: list[Finish] = ["length"] * num_replies
    for delta in deltas:
        texts[delta.index] += delta.text
        tokens[delta.index] += delta.num_tokens
        finishes[delta.index] = delta.finish or finishes[delta.index]
    return [
        Reply(text=text, num_tokens=count, finish=finish)
        for text, count, finish in zip(texts, tokens, finishes, strict=True)
    ]
