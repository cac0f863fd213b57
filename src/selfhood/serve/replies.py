"""What the engine says -> the pieces that a client gets, streamed or folded.

Runs in the thread that waits for the engine; closing it lets go of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, Protocol, cast

from selfhood.chat import Call
from selfhood.engine.types import Chance, Delta, Host, Passage
from selfhood.serve.calls import CallReader
from selfhood.serve.protocol import Asked

Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Of choice ``index``. The last one says why it ended and how many tokens it took."""

    index: int
    text: str = ""
    calls: tuple[Call, ...] = ()
    chances: tuple[Chance, ...] = ()
    finish: Finish | None = None
    num_tokens: int = 0
    num_prompt_tokens: int = 0

    def __add__(self, later: Piece) -> Piece:
        return Piece(
            index=self.index,
            text=self.text + later.text,
            calls=self.calls + later.calls,
            chances=self.chances + later.chances,
            finish=later.finish or self.finish,
            num_tokens=self.num_tokens + later.num_tokens,
            num_prompt_tokens=self.num_prompt_tokens + later.num_prompt_tokens,
        )


def fold(pieces: Iterable[Piece], num_choices: int) -> list[Piece]:
    """Each choice whole."""
    choices = [Piece(index=index) for index in range(num_choices)]
    for piece in pieces:
        choices[piece.index] += piece
    return choices


def replies(host: Host, asked: Asked) -> Iterator[Piece]:
    """The prompts that are to be echoed, then the replies as they come."""
    for index, passage in enumerate(asked.echoed):
        if asked.tells_chances or not isinstance(passage.text, str):
            yield _weighed(host, index, passage)
        else:
            yield Piece(index=index, text=passage.text)
    if all(request.sampling.max_new_tokens == 0 for request in asked.requests):
        for index in range(len(asked.requests)):
            yield Piece(index=index, finish="length")
        return
    readers = [CallReader(asked.most_calls) for _ in asked.requests]
    with closing(cast(Closable, host.stream(asked.requests))) as deltas:
        for delta in deltas:
            yield from _pieces(delta, readers[delta.index]) if asked.most_calls else [_plain(delta)]


class Closable(Iterable[Delta], Protocol):
    """What an engine's stream is."""

    def close(self) -> None: ...


def _plain(delta: Delta) -> Piece:
    return Piece(
        index=delta.index,
        text=delta.text,
        chances=delta.chances,
        finish=delta.finish,
        num_tokens=delta.num_tokens,
        num_prompt_tokens=delta.num_prompt_tokens,
    )


def _pieces(delta: Delta, reader: CallReader) -> Iterator[Piece]:
    """Its text with the calls in it told apart; counts and the end come last."""
    parts = [*reader.take(delta.text), *(reader.end() if delta.finish else ())]
    for part in parts:
        if isinstance(part, Call):
            yield Piece(index=delta.index, calls=(part,))
        else:
            yield Piece(index=delta.index, text=part)
    rest = replace(_plain(delta), text="")
    if delta.finish == "stop" and reader.num_calls:
        rest = replace(rest, finish="tool_calls")
    if rest != Piece(index=delta.index):
        yield rest


def _weighed(host: Host, index: int, passage: Passage) -> Piece:
    """A prompt as the beginning of its reply: its first token comes after nothing, so nobody can
    say how likely it was."""
    (chances,) = host.score([passage])
    first = _first_token(host, passage, chances)
    tokens = (Chance(token=first, logprob=math.nan), *chances)
    text = passage.text if isinstance(passage.text, str) else "".join(each.token for each in tokens)
    return Piece(index=index, text=text, chances=tokens)


def _first_token(host: Host, passage: Passage, others: tuple[Chance, ...]) -> str:
    """Its text. Of a prompt that came as ids the engine spells it where it stands after itself."""
    if isinstance(passage.text, str):
        rest = "".join(each.token for each in others)
        return passage.text.removesuffix(rest) if passage.text.endswith(rest) else ""
    first = replace(passage, prompt=passage.text[:1], text=passage.text[:1], num_logprobs=0)
    ((spelt,),) = host.score([first])
    return spelt.token
