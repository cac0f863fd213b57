"""What a reply may be besides text: one JSON object, by a mask over the next tokens.

llguidance knows after each token which others may follow; a model that is held to it cannot say
anything that does not parse, unless it is cut short.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from selfhood.engine.types import Form as FormName
from selfhood.errors import InputError

ANY_OBJECT = {"type": "object"}
# Reading a vocabulary takes about a second; a tokenizer has its reading for as long as it lives.
_READ: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


class Form:
    """How far one reply has come in its grammar."""

    def __init__(self, tokenizer: Any) -> None:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(ANY_OBJECT)
        self._matcher = LLMatcher(_read(tokenizer), grammar)

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        return bool(self._matcher.is_stopped())

    def mask(self, logits_V: Tensor) -> Tensor:
        """Minus infinity for the tokens that may not follow."""
        bits = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        allowed = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        allowed_V = torch.zeros(len(logits_V), dtype=torch.bool)
        num = min(len(logits_V), allowed.numel())
        allowed_V[:num] = allowed.flatten()[:num].bool()
        return logits_V.masked_fill(~allowed_V, -torch.inf)

    def take(self, token: int) -> None:
        self._matcher.consume_token(token)


def form_of(name: FormName, tokenizer: Any) -> Form | None:
    """None where a reply may be anything."""
    return Form(tokenizer) if name == "json" else None


def _read(tokenizer: Any) -> Any:
    from llguidance.hf import from_tokenizer

    if tokenizer not in _READ:
        try:
            _READ[tokenizer] = from_tokenizer(tokenizer)
        except ValueError as error:
            raise InputError(f"this model's tokenizer cannot be held to JSON: {error}") from error
    return _READ[tokenizer]
