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
    """One question; a last message of the assistant is a reply that has been begun for it.

    ``adapter`` names the identity that answers; None is the base model.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: str | None = None
    thinking: bool | None = None
    """Whether the model thinks first; None: as the engine does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of reply ``index``; the last one of a reply carries ``finish``, and the tokens of the
    whole reply where the engine knows them."""

    index: int
    text: str
    num_tokens: int
    finish: Finish | None = None
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. ``ids`` are its tokens, the end mark not among them."""

    text: str
    num_tokens: int
    finish: Finish
    ids: tuple[int, ...] = ()


class Engine(Protocol):
    """Whatever answers."""

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]: ...


def fold(deltas: Iterable[Delta], num_replies: int) -> list[Reply]:
    """Streamed pieces -> whole replies, in the order of their requests."""
    replies = [Reply(text="", num_tokens=0, finish="length")] * num_replies
    for delta in deltas:
        so_far = replies[delta.index]
        replies[delta.index] = Reply(
            text=so_far.text + delta.text,
            num_tokens=so_far.num_tokens + delta.num_tokens,
            finish=delta.finish or so_far.finish,
            ids=so_far.ids + delta.ids,
        )
    return replies
