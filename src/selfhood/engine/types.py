"""Request, Delta, Reply: the one way to an answer, streamed or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from selfhood.chat import Message
from selfhood.console import Progress
from selfhood.errors import InputError

Finish = Literal["stop", "length"]
Form = Literal["text", "json"]
Text = str | tuple[int, ...]
"""To be tokenised as it stands, or tokens already."""
Tool = Mapping[str, Any]
"""A function that the model may ask to be called: JSON, as the chat template takes it."""

MOST_AT_ONCE = 16  # requests, where nobody says how many


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
    form: Form = "text"
    """What a reply may be: anything, or one JSON object."""
    num_logprobs: int | None = None
    """None: none are told; n: each token's own, and those of the n likeliest in its place."""


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
    tools: tuple[Tool, ...] = ()
    text: Text | None = None
    """To go on from, in place of ``messages`` and a chat template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """How likely a token was where it stands, in nats, and which others were likeliest there."""

    token: str
    logprob: float
    others: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of reply ``index``; the last one of a reply carries ``finish``, and the tokens of the
    whole reply where the engine knows them."""

    index: int
    text: str
    num_tokens: int
    finish: Finish | None = None
    ids: tuple[int, ...] = ()
    chances: tuple[Chance, ...] = ()
    """Of the tokens that make ``text``, where ``Sampling.num_logprobs`` asks for them."""
    num_prompt_tokens: int = 0
    """On the last piece, where the engine knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. ``ids`` are its tokens, the end mark not among them."""

    text: str
    num_tokens: int
    finish: Finish
    ids: tuple[int, ...] = ()
    chances: tuple[Chance, ...] = ()
    num_prompt_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text whose tokens are to be weighed: each from ``text`` on, given all that stands before.

    With an empty ``prompt`` the first token has nothing before it and is not weighed.
    """

    prompt: Text
    text: Text
    adapter: str | None = None
    num_logprobs: int = 0


class Engine(Protocol):
    """Whatever answers, to several threads at once."""

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """The replies' pieces as they come, interleaved. Who closes the iterator before its end
        no longer wants the rest: nothing more is computed for it."""


class Host(Engine, Protocol):
    """An engine that a server can stand on: identities come and go while it answers."""

    @property
    def speakers(self) -> tuple[str, ...]:
        """The adapters that can be asked for, by name."""

    def score(self, passages: Sequence[Passage]) -> list[tuple[Chance, ...]]:
        """For each passage the chances of its tokens, in order.

        Raises InputError where a backend cannot tell.
        """

    def add_speaker(self, name: str, folder: Path) -> None:
        """Load the adapter in ``folder``, beside whatever is being answered."""

    def remove_speaker(self, name: str) -> None:
        """Nobody can ask for it any more; replies that it has begun are finished."""

    def close(self) -> None:
        """Let go of everything; replies that are under way end as they are."""


def check_speaker(name: str | None, speakers: Sequence[str]) -> None:
    """Raise for an adapter that is not there; None, the base, always is."""
    if name is not None and name not in speakers:
        there = ", ".join(speakers) or "none"
        raise InputError(f"no adapter is called {name!r}", hint=f"there are: {there}")


NOTHING_YET = Reply(text="", num_tokens=0, finish="length")


def extended(reply: Reply, delta: Delta) -> Reply:
    """A reply with one more piece."""
    return Reply(
        text=reply.text + delta.text,
        num_tokens=reply.num_tokens + delta.num_tokens,
        finish=delta.finish or reply.finish,
        ids=reply.ids + delta.ids,
        chances=reply.chances + delta.chances,
        num_prompt_tokens=reply.num_prompt_tokens + delta.num_prompt_tokens,
    )


def counted(deltas: Iterable[Delta], bar: Progress) -> Iterator[Delta]:
    """The same pieces; ``bar`` advances with every reply that is whole."""
    for delta in deltas:
        yield delta
        if delta.finish is not None:
            bar.advance()


def fold(deltas: Iterable[Delta], num_replies: int) -> list[Reply]:
    """Streamed pieces -> whole replies, in the order of their requests."""
    replies = [NOTHING_YET] * num_replies
    for delta in deltas:
        replies[delta.index] = extended(replies[delta.index], delta)
    return replies
