"""A request -> the tokens that a server is sent: rendered and tokenised as they were trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfhood.data.render import Renderer
from selfhood.engine.types import Request, Text
from selfhood.errors import InputError
from selfhood.model.load import context_length, load_config, load_generation, load_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """A model's tokenizer and template, without its weights.

    ``context`` is the longest talk in tokens, ``ends`` the tokens that end a reply.
    """

    renderer: Renderer
    tokenizer: Any
    context: int
    ends: tuple[int, ...]

    @classmethod
    def of(
        cls, model_path: Path, *, system: str | None, thinking: bool | None, context: int | None
    ) -> Prompts:
        tokenizer = load_tokenizer(model_path)
        own = context_length(load_config(model_path))
        return cls(
            renderer=Renderer(tokenizer, system, thinking),
            tokenizer=tokenizer,
            context=min(context or own, own),
            ends=end_tokens(load_generation(model_path).eos_token_id, tokenizer.eos_token_id),
        )

    def ids(self, request: Request) -> tuple[int, ...]:
        """Raises InputError where nothing could be added to it."""
        text = request.text
        if text is None:
            text = self.renderer.prompt(
                request.messages, thinking=request.thinking, tools=request.tools
            )
        ids = self.tokens(text)
        if len(ids) >= self.context:
            raise InputError(
                f"the talk is {len(ids)} tokens long, the model holds {self.context}",
                hint="start a new one (in a talk: clear)",
            )
        return ids

    def room(self, ids: tuple[int, ...], request: Request) -> int:
        """The most tokens that the reply may have."""
        return min(request.sampling.max_new_tokens, self.context - len(ids))

    def tokens(self, text: Text) -> tuple[int, ...]:
        if isinstance(text, tuple):
            return text
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def spoken(self, ids: Iterable[int]) -> tuple[int, ...]:
        """Without the end mark."""
        return tuple(token for token in ids if token not in self.ends)


def end_tokens(configured: int | list[int] | None, own: int | None) -> tuple[int, ...]:
    """What the generation settings name and what the tokenizer does."""
    named = configured if isinstance(configured, list) else [configured]
    return tuple(sorted({token for token in (*named, own) if token is not None}))
