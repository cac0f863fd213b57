"""Pieces and choices -> the JSON of OpenAI's protocol. Each protocol has a chunk and a whole."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from selfhood.chat import Call
from selfhood.engine.types import Chance
from selfhood.serve.replies import Piece

LEAST = -9999.0  # JSON knows no infinity; so writes OpenAI it


class Answer(Protocol):
    """How one protocol writes an answer."""

    def opening(self, num_choices: int) -> list[dict[str, Any]]:
        """Chunks that come before anything is said."""

    def chunk(self, piece: Piece) -> dict[str, Any]: ...

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]: ...

    def whole(self, choices: Sequence[Piece], usage: dict[str, int]) -> dict[str, Any]: ...


def usage_of(choices: Sequence[Piece], num_per_prompt: int) -> dict[str, int]:
    """A prompt counts once, however many choices it has."""
    prompt = sum(choice.num_prompt_tokens for choice in choices[::num_per_prompt])
    completion = sum(choice.num_tokens for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


class ChatAnswer:
    """``chat.completion``."""

    def __init__(self, model: str, *, tells_chances: bool) -> None:
        self._id = f"chatcmpl-{uuid4().hex}"
        self._created = int(time.time())
        self._model = model
        self._tells_chances = tells_chances
        self._num_calls: dict[int, int] = {}

    def opening(self, num_choices: int) -> list[dict[str, Any]]:
        return [
            self._chunk([self._choice(index, {"role": "assistant", "content": ""})])
            for index in range(num_choices)
        ]

    def chunk(self, piece: Piece) -> dict[str, Any]:
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.calls:
            at = self._num_calls.get(piece.index, 0)
            self._num_calls[piece.index] = at + len(piece.calls)
            delta["tool_calls"] = [
                {"index": number, **_call(call)} for number, call in enumerate(piece.calls, at)
            ]
        return self._chunk([self._choice(piece.index, delta, piece)])

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        return {**self._chunk([]), "usage": usage}

    def whole(self, choices: Sequence[Piece], usage: dict[str, int]) -> dict[str, Any]:
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": choice.index,
                    "message": _message(choice),
                    "logprobs": self._logprobs(choice),
                    "finish_reason": choice.finish,
                }
                for choice in choices
            ],
            "usage": usage,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": choices}

    def _choice(
        self, index: int, delta: dict[str, Any], piece: Piece | None = None
    ) -> dict[str, Any]:
        return {
            "index": index,
            "delta": delta,
            "logprobs": self._logprobs(piece) if piece else None,
            "finish_reason": piece.finish if piece else None,
        }

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if not self._tells_chances:
            return None
        return {
            "content": [
                {
                    **_token(chance.token, chance.logprob),
                    "top_logprobs": [_token(*other) for other in chance.others],
                }
                for chance in piece.chances
            ],
            "refusal": None,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}


def _message(choice: Piece) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.calls:
        message["content"] = choice.text or None
        message["tool_calls"] = [_call(call) for call in choice.calls]
    return message


def _call(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": _told(logprob),
        "bytes": list(token.encode("utf-8", errors="replace")),
    }


def _told(logprob: float) -> float | None:
    """Null for a token that has nothing before it."""
    return None if math.isnan(logprob) else max(logprob, LEAST)


@dataclass(slots=True)
class _Place:
    """How far a choice's text has come, in characters."""

    offset: int = 0


class CompletionAnswer:
    """``text_completion``."""

    def __init__(self, model: str, *, tells_chances: bool) -> None:
        self._id = f"cmpl-{uuid4().hex}"
        self._created = int(time.time())
        self._model = model
        self._tells_chances = tells_chances
        self._places: dict[int, _Place] = {}

    def opening(self, num_choices: int) -> list[dict[str, Any]]:
        return []

    def chunk(self, piece: Piece) -> dict[str, Any]:
        return {**self._head(), "choices": [self._choice(piece)]}

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        return {**self._head(), "choices": [], "usage": usage}

    def whole(self, choices: Sequence[Piece], usage: dict[str, int]) -> dict[str, Any]:
        written = [self._choice(choice) for choice in choices]
        return {**self._head(), "choices": written, "usage": usage}

    def _choice(self, piece: Piece) -> dict[str, Any]:
        return {
            "index": piece.index,
            "text": piece.text,
            "logprobs": self._logprobs(piece),
            "finish_reason": piece.finish,
        }

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if not self._tells_chances:
            return None
        place = self._places.setdefault(piece.index, _Place())
        offsets = []
        for chance in piece.chances:
            offsets.append(place.offset)
            place.offset += len(chance.token)
        return {
            "tokens": [chance.token for chance in piece.chances],
            "token_logprobs": [_told(chance.logprob) for chance in piece.chances],
            "top_logprobs": [_others(chance) for chance in piece.chances],
            "text_offset": offsets,
        }

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
        }


def _others(chance: Chance) -> dict[str, float | None] | None:
    """The likeliest, and the one that was taken where it is not among them."""
    if math.isnan(chance.logprob):
        return None
    others: dict[str, float | None] = {token: _told(value) for token, value in chance.others}
    others.setdefault(chance.token, _told(chance.logprob))
    return others
