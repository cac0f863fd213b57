"""The one way of a prompt: a chat template that renders what is trained and what is asked.

    system  You are a helpful assistant.      ─┐ template text, not trained
    user    你是谁?                             │
    assistant                                 ─┘
    我是小狐。<|im_end|>                        ── trained: the reply and its end mark

The prompt of every trained turn is a prefix of the training text (tested as a property), so that
the model is asked exactly as it was taught.

A thinking model is taught to reply without thoughts where a row has none: the empty block of
thoughts that its template then writes belongs to the prompt. Some templates (Qwen3's) drop the
thoughts of all turns but the last, so that the earlier turns of such a row stand there as they are
never asked: only the last one is trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selfhood.chat import Conversation, Message
from selfhood.data.thoughts import spoken, without_thoughts
from selfhood.errors import DataError, InputError, SelfhoodError


class Tokenizer(Protocol):
    """What this house needs of a transformers tokenizer."""

    eos_token: str | None
    chat_template: str | None

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of training text."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Renderer:
    """A tokenizer's chat template, and the system line for rows that bring none.

    ``system`` None or '' leaves the system line to the template, ``thinking`` None to it whether
    the model thinks before it replies.
    """

    tokenizer: Tokenizer
    system: str | None = None
    thinking: bool | None = None

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The text that the model continues with its reply, or with the rest of a reply that the
        last message begins. ``thinking`` and ``tools`` are for this prompt alone.

        Raises InputError where there are tools and the chat template has no place for them.
        """
        begun = _begun(messages)
        asked = self._with_system(messages[:-1] if begun else messages)
        thinks = self.thinking if thinking is None else thinking
        text = self._question(asked, thinks, tools=tools)
        if tools and text == self._question(asked, thinks):
            raise InputError("the model's chat template knows no tools", hint="leave them out")
        return text + begun

    def segments(self, conversation: Conversation) -> tuple[Segment, ...]:
        """The training text, cut where training starts and ends."""
        messages = self._with_system(conversation.messages)
        where = conversation.origin
        segments: list[Segment] = []
        seen = ""
        for number, message in enumerate(messages):
            if message.role != "assistant" or not message.is_trained:
                continue
            if number == 0:
                raise DataError(
                    "no question comes before the answer",
                    where=where,
                    hint="give a question, or a system line with --system",
                )
            thinks = bool(spoken(message.content).thoughts)
            prompt = self._question(messages[:number], thinks, where)
            whole = self._render(messages[: number + 1], generate=False, where=where)
            if not prompt.startswith(seen) and prompt.startswith(without_thoughts(seen)):
                segments, seen = [], ""
            if not (prompt.startswith(seen) and whole.startswith(prompt)):
                raise DataError(
                    "the chat template changes earlier turns, so not every turn can be trained",
                    where=where,
                    hint='mark all but the last assistant turn with "loss": false',
                )
            reply = self._up_to_end_mark(whole[len(prompt) :])
            segments += [Segment(prompt[len(seen) :], False), Segment(reply, True)]
            seen = prompt + reply
        if not segments:
            raise DataError("no turn is trained", where=where)
        return tuple(segments)

    @property
    def has_two_modes(self) -> bool:
        """Whether the template lets a model think before it replies, or not."""
        asked = (Message("user", "?"),)
        return self._question(asked, True) != self._question(asked, False)

    @property
    def drops_thoughts(self) -> bool:
        """Whether earlier turns lose their block of thoughts, so that only the last is trained."""
        turn = (Message("user", "?"), Message("assistant", "."))
        first = self._question(turn[:1], False) + turn[1].content
        return not self._question((*turn, turn[0]), False).startswith(first)

    def _question(
        self,
        messages: Sequence[Message],
        thinking: bool | None,
        where: str | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Up to where the model goes on. A template that knows no thoughts takes no notice."""
        return self._render(messages, generate=True, where=where, thinking=thinking, tools=tools)

    def _with_system(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The row's own system line, else the run's; an empty one means: nobody wrote one."""
        if messages and messages[0].role == "system":
            return tuple(messages if messages[0].content else messages[1:])
        return (Message("system", self.system), *messages) if self.system else tuple(messages)

    def _up_to_end_mark(self, reply: str) -> str:
        """Cut what the template writes after the end mark: the model never speaks it."""
        mark = self.tokenizer.eos_token
        end = reply.rfind(mark) if mark else -1
        return reply if end < 0 or mark is None else reply[: end + len(mark)]

    def _render(
        self,
        messages: Sequence[Message],
        *,
        generate: bool,
        where: str | None = None,
        thinking: bool | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            raise SelfhoodError(
                "the model has no chat template", hint="use an instruct or chat model"
            )
        try:
            text = self.tokenizer.apply_chat_template(
                [_as_json(message) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                tokenize=False,
                add_generation_prompt=generate,
                **({} if thinking is None else {"enable_thinking": thinking}),
            )
        except TemplateError as error:  # some know no system line, some want turns to alternate
            what = f"the model's chat template refuses it: {error}"
            raise DataError(what, where=where) from error
        return str(text)


def _begun(messages: Sequence[Message]) -> str:
    """The reply that the last message begins; one that asks for calls is whole."""
    last = messages[-1] if messages else None
    return last.content if last and last.role == "assistant" and not last.calls else ""


def _as_json(message: Message) -> dict[str, Any]:
    """As chat templates know a message: arguments as an object, not as text."""
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        fields["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.calls
        ]
    if message.answers is not None:
        fields["tool_call_id"] = message.answers
    return fields
