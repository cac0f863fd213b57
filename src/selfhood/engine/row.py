"""One reply in the making: what of it has been read, what has been said, why it ended."""

from __future__ import annotations

from collections import deque
from typing import Any

from torch import Tensor

from selfhood.engine.form import Form, form_of
from selfhood.engine.kv_cache import Cache
from selfhood.engine.sampler import Sampler, weigh
from selfhood.engine.speech import Speech
from selfhood.engine.types import Chance, Delta, Finish, Request

Inbox = deque[Delta | Exception]


class Row:
    """``prompt`` are its first tokens, the first ``num_virtual`` of them without an id; ``room`` is
    how many may follow, ``inbox`` where its pieces go.

    ``index`` is the request's number among those that came together.
    """

    def __init__(
        self,
        index: int,
        request: Request,
        *,
        prompt: list[int],
        num_virtual: int,
        room: int,
        tokenizer: Any,
        ends: frozenset[int],
        inbox: Inbox,
    ) -> None:
        self.index = index
        self.adapter = request.adapter
        self.ids = list(prompt)
        self.most_tokens = len(prompt) + room
        self.inbox = inbox
        self.cache: Cache | None = None
        self.is_done = False
        self._num_others = request.sampling.num_logprobs
        self._num_virtual = num_virtual
        self._num_prompt = len(prompt) - num_virtual
        self._room = room
        self._tokenizer = tokenizer
        self._ends = ends
        self._sampler = Sampler(request.sampling)
        self._speech = Speech(tokenizer, request.sampling.stop)
        self._form: Form | None = form_of(request.sampling.form, tokenizer)
        self._chances: list[Chance] = []

    @property
    def unread(self) -> list[int]:
        """Tokens that the model has still to read before it can say the next one."""
        return self.ids[len(self.cache) if self.cache is not None else 0 :]

    @property
    def takes_likeliest(self) -> bool:
        """Whether the largest logit is its next token, and no more is asked."""
        return self._sampler.takes_likeliest and self._form is None and self._num_others is None

    def say(self, logits_V: Tensor) -> None:
        """Draw the next token. ``logits_V`` is float32, on the CPU."""
        allowed_V = logits_V if self._form is None else self._form.mask(logits_V)
        token = self._sampler.pick(allowed_V, self.ids[self._num_virtual :])
        if self._num_others is not None and token not in self._ends:
            self._chances.append(weigh(logits_V, token, self._num_others, self._decode_one))
        self.take(token)

    def take(self, token: int) -> None:
        """The next token, and what it lets out."""
        self.ids.append(token)
        if token in self._ends:
            self._finish("stop", self._speech.end(is_cut=False))
            return
        text = self._speech.take(token)
        if self._form is not None:
            self._form.take(token)
        if self._speech.is_stopped:
            self._finish("stop", text)
        elif self._form is not None and self._form.is_complete:
            self._finish("stop", text + self._speech.end(is_cut=False))
        elif len(self._speech.ids) >= self._room:
            self._finish("length", text + self._speech.end(is_cut=True))
        elif text:
            self.inbox.append(
                Delta(index=self.index, text=text, num_tokens=0, chances=self._told())
            )

    def fail(self, error: Exception) -> None:
        self.is_done = True
        self.inbox.append(error)

    def _finish(self, finish: Finish, text: str) -> None:
        self.is_done = True
        ids = tuple(self._speech.ids)
        self.inbox.append(
            Delta(
                index=self.index,
                text=text,
                num_tokens=len(ids),
                finish=finish,
                ids=ids,
                chances=self._told(),
                num_prompt_tokens=self._num_prompt,
            )
        )

    def _told(self) -> tuple[Chance, ...]:
        told, self._chances = tuple(self._chances), []
        return told

    def _decode_one(self, token: int) -> str:
        return str(self._tokenizer.decode([token]))
