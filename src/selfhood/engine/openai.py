"""The engine behind a URL: chat completions, as OpenAI's protocol has them, word by word.

The server renders the talk itself, and decides how it computes those that it is asked at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selfhood.chat import Message
from selfhood.engine.together import together
from selfhood.engine.types import MOST_AT_ONCE, Chance, Delta, Finish, Passage, Request
from selfhood.engine.wire import Hangup, Wire
from selfhood.errors import InputError, SelfhoodError

CHAT, TEXT = "/chat/completions", "/completions"


class OpenAIEngine:
    """Answers with what a server calls ``model``; a request's adapter is a model of its own."""

    def __init__(
        self,
        url: str,
        *,
        model: str,
        key: str | None = None,
        system: str | None = None,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self.system = system
        self._most_at_once = most_at_once
        self._wire = Wire(url.rstrip("/").removesuffix(CHAT), key=key)
        self.model = model

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """Deltas as the server sends them; one that cannot stream sends each reply whole."""
        yield from together(
            [partial(self._reply, index, request) for index, request in enumerate(requests)],
            self._most_at_once,
        )

    @property
    def speakers(self) -> tuple[str, ...]:
        """Every model of the server's but the one that stands for the base."""
        try:
            names = [each["id"] for each in self._wire.get("/models")["data"]]
        except (KeyError, TypeError) as error:
            raise _not_openai(self._wire.url) from error
        return tuple(name for name in names if name != self.model)

    def score(self, passages: Sequence[Passage]) -> list[tuple[Chance, ...]]:
        raise InputError("a server does not weigh a text that it is given", where="--url")

    def add_speaker(self, name: str, folder: Path) -> None:
        raise InputError("adapters are the server's own", where="--url")

    def remove_speaker(self, name: str) -> None:
        raise InputError("adapters are the server's own", where="--url")

    def close(self) -> None:
        """The server is somebody else's."""

    def _reply(self, index: int, request: Request, hangup: Hangup) -> Iterator[Delta]:
        model = request.adapter or self.model
        path = CHAT if request.text is None else TEXT
        body = body_of(model, request, system=self.system)
        reading = Reading(index)
        try:
            for event in self._wire.events(path, body, hangup):
                yield from reading.take(event)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise _not_openai(self._wire.url) from error
        if not hangup.is_over:
            yield reading.end()


class Reading:
    """The events of one reply -> its deltas. What ends it is held back to the end, since the count
    of tokens comes after it."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._finish: Finish = "length"
        self._told = 0
        self._num_tokens = 0
        self._num_prompt_tokens = 0

    def take(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        usage = event.get("usage") or {}
        self._num_tokens = int(usage.get("completion_tokens") or self._num_tokens)
        self._num_prompt_tokens = int(usage.get("prompt_tokens") or self._num_prompt_tokens)
        if not event["choices"]:
            if not usage:
                raise KeyError("choices")
            return
        choice = event["choices"][0]
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("content") or said.get("text") or ""
        if choice.get("finish_reason"):
            self._finish = "length" if choice["finish_reason"] == "length" else "stop"
        if text:
            chances = chances_of(choice.get("logprobs"))
            self._told += 1
            yield Delta(index=self._index, text=text, num_tokens=1, chances=chances)

    def end(self) -> Delta:
        """One event is one token or several; here the sum is put right."""
        missing = max(self._num_tokens - self._told, -self._told)
        return Delta(
            index=self._index,
            text="",
            num_tokens=missing if self._num_tokens else 0,
            finish=self._finish,
            num_prompt_tokens=self._num_prompt_tokens,
        )


def body_of(model: str, request: Request, *, system: str | None = None) -> dict[str, Any]:
    """What is off is left out: not every server knows every name."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.text is None:
        body["messages"] = messages_of(request.messages, system)
    else:
        body["prompt"] = request.text
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if sampling.repetition_penalty != 1.0:
        body["repetition_penalty"] = sampling.repetition_penalty
    if sampling.form == "json":
        body["response_format"] = {"type": "json_object"}
    if sampling.num_logprobs is not None and request.text is None:
        body |= {"logprobs": True, "top_logprobs": sampling.num_logprobs}
    elif sampling.num_logprobs is not None:
        body["logprobs"] = sampling.num_logprobs
    if request.tools:
        body["tools"] = [dict(tool) for tool in request.tools]
    if request.thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    return body


def messages_of(messages: Sequence[Message], system: str | None) -> list[dict[str, Any]]:
    """With ``system`` where they bring no line; an empty one is one that nobody wrote."""
    if system and (not messages or messages[0].role != "system"):
        messages = (Message("system", system), *messages)
    return [as_json(message) for message in messages if message.content or message.role != "system"]


def as_json(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        fields["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.answers is not None:
        fields["tool_call_id"] = message.answers
    return fields


def chances_of(told: Mapping[str, Any] | None) -> tuple[Chance, ...]:
    """From either form: a chat's list of tokens, or a completion's parallel lists."""
    if not told:
        return ()
    if told.get("content") is not None:
        return tuple(
            Chance(
                token=each["token"],
                logprob=each["logprob"],
                others=tuple(
                    (other["token"], other["logprob"]) for other in each.get("top_logprobs") or ()
                ),
            )
            for each in told["content"]
        )
    tops = told.get("top_logprobs") or [{}] * len(told["tokens"])
    return tuple(
        Chance(token=token, logprob=logprob, others=tuple((top or {}).items()))
        for token, logprob, top in zip(told["tokens"], told["token_logprobs"], tops, strict=True)
    )


def _not_openai(url: str) -> SelfhoodError:
    return SelfhoodError("answers, but not as a chat completion", where=url, hint="check --url")
