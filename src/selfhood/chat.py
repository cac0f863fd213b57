"""Message and Conversation: what every source yields and every prompt is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Language = Literal["zh", "en"]
Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Call:
    """A function that the assistant wants called; ``arguments`` is one JSON object, as text."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``trained`` None means the default: assistant turns are trained, others never.

    An assistant may ask for ``calls``; a message of role tool is the result of the one whose id is
    ``answers``.
    """

    role: Role
    content: str
    trained: bool | None = None
    calls: tuple[Call, ...] = ()
    answers: str | None = None

    @property
    def is_trained(self) -> bool:
        return self.role == "assistant" if self.trained is None else self.trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A system line (perhaps), then turns.

    ``origin`` is ``file:line`` and follows the row for good; ``language`` is what the row says of
    itself, if it does.

    A conversation without a system message gets the run's system line; one with an empty system
    message is shown to the model as a chat in which nobody wrote a system line, so that the chat
    template's own default appears.
    """

    messages: tuple[Message, ...]
    origin: str
    language: Language | None = None

    @property
    def system(self) -> str | None:
        first = self.messages[0] if self.messages else None
        return first.content if first is not None and first.role == "system" else None

    @property
    def turns(self) -> tuple[Message, ...]:
        return self.messages[1:] if self.system is not None else self.messages

    def with_system(self, system: str) -> Conversation:
        return replace(self, messages=(Message("system", system), *self.turns))
