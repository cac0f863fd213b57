"""The engine in this process: requests in one left-padded batch, tokens out as they come.

Suffixes: B rows still speaking, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from selfhood.data.render import Renderer
from selfhood.engine.sampler import Sampler
from selfhood.engine.types import Delta, Finish, Request
from selfhood.errors import InputError
from selfhood.model.adapters import speaking_as
from selfhood.model.load import Loaded, context_length
from selfhood.model.tuners.prompt import (
    VirtualTokens,
    num_virtual_tokens,
    virtual_tokens,
    without_peft,
)

_New = dict[str, Tensor]  # the next tokens, by ids or by embeddings, as transformers takes them
HALF_A_CHARACTER = "\ufffd"  # how a tokenizer decodes one whose last token is still to come


class NativeEngine:
    """Answers with the loaded model, as itself or as any adapter on it."""

    def __init__(self, loaded: Loaded, renderer: Renderer) -> None:
        self.loaded = loaded
        self.renderer = renderer
        # peft's own forward would put virtual tokens before every single token.
        self._base = without_peft(loaded.model)
        self._context = context_length(loaded.model.config)
        self.ends = end_tokens(loaded)

    @torch.inference_mode()
    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """Deltas of all replies, interleaved as they are decoded. Requests share one adapter."""
        adapters = {request.adapter for request in requests}
        if len(adapters) != 1:
            raise InputError("one batch is answered by one identity")
        rows = [self._start(index, request) for index, request in enumerate(requests)]
        yield from self._decode(rows, adapters.pop())

    def _start(self, index: int, request: Request) -> _Row:
        tokenizer = self.loaded.tokenizer
        prompt = self.renderer.prompt(request.messages, thinking=request.thinking)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        room = self._context - len(ids) - num_virtual_tokens(self.loaded.model, request.adapter)
        if room < 1:
            raise InputError(
                f"the talk is {len(ids)} tokens long, the model holds {self._context}",
                hint="start a new one (in a talk: clear)",
            )
        return _Row(index, ids, request, tokenizer, min(request.sampling.max_new_tokens, room))

    def _decode(self, rows: list[_Row], adapter: str | None) -> Iterator[Delta]:
        from transformers import DynamicCache

        cache = DynamicCache(config=self.loaded.model.config)
        mask_BT, ids_BT = self._pad([row.ids for row in rows])
        new: _New = {"input_ids": ids_BT}
        virtual = self._virtual_tokens(adapter, len(rows))
        if virtual is not None:
            mask_BT = torch.cat([mask_BT.new_ones(len(rows), virtual.num), mask_BT], dim=1)
        if virtual is not None and virtual.cache is not None:
            cache = virtual.cache
        if virtual is not None and virtual.embeddings_BVD is not None:
            embeddings_BTD = self._base.get_input_embeddings()(ids_BT)
            new = {"inputs_embeds": torch.cat([virtual.embeddings_BVD, embeddings_BTD], dim=1)}
        while rows:
            # Anew each time: between two tokens another reply may have been asked of the model.
            with speaking_as(self.loaded.model, adapter):
                logits_BV = self._forward(new, mask_BT, cache)
            picked = [row.pick(logits_V) for row, logits_V in zip(rows, logits_BV, strict=True)]
            for row, token in zip(rows, picked, strict=True):
                delta = row.take(token, self.ends)
                if delta is not None:
                    yield delta
            alive = [number for number, row in enumerate(rows) if row.finish is None]
            if len(alive) < len(rows):
                if not alive:
                    return
                keep_B = torch.tensor(alive, device=self.loaded.device)
                cache.batch_select_indices(keep_B)
                mask_BT = mask_BT[keep_B]
                rows = [rows[number] for number in alive]
            ids_BT = torch.tensor([[row.seen[-1]] for row in rows], device=self.loaded.device)
            new = {"input_ids": ids_BT}
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=1)

    def _pad(self, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, prompts))
        pads = [longest - len(ids) for ids in prompts]
        mask = [[0] * pad + [1] * (longest - pad) for pad in pads]
        ids = [[0] * pad + row for pad, row in zip(pads, prompts, strict=True)]
        device = self.loaded.device
        return torch.tensor(mask, device=device), torch.tensor(ids, device=device)

    def _virtual_tokens(self, adapter: str | None, batch_size: int) -> VirtualTokens | None:
        if adapter is None:
            return None
        with speaking_as(self.loaded.model, adapter):
            return virtual_tokens(self.loaded.model, batch_size=batch_size)

    def _forward(self, new: _New, mask_BT: Tensor, cache: Any) -> Tensor:
        """Logits after the last of the ``new`` tokens; they stand behind those in the cache."""
        (tokens,) = new.values()
        num_new = tokens.shape[1]
        positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -num_new:]
        output = self._base(
            **new,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            # An index, not the number 1: that would hand a strided slice to the head, which torch
            # multiplies by copying the whole vocabulary matrix once per row.
            logits_to_keep=torch.tensor([num_new - 1], device=mask_BT.device),
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV


class _Row:
    """One reply in the making: its tokens, the text already handed out, why it ended."""

    def __init__(
        self, index: int, ids: list[int], request: Request, tokenizer: Any, room: int
    ) -> None:
        self.index = index
        self.ids = ids
        self.seen = list(ids)
        self.finish: Finish | None = None
        self._tokenizer = tokenizer
        self._sampler = Sampler(request.sampling)
        self._stop = tuple(word for word in request.sampling.stop if word)
        self._room = room
        self._new: list[int] = []
        self._given = 0  # characters handed out

    def pick(self, logits_V: Tensor) -> int:
        return self._sampler.pick(logits_V, self.seen)

    def take(self, token: int, ends: frozenset[int]) -> Delta | None:
        """Add a token; the text it completes, or None while a character is still incomplete."""
        self.seen.append(token)
        if token in ends:
            self.finish = "stop"
        else:
            self._new.append(token)
            if len(self._new) >= self._room:
                self.finish = "length"
        text: str = self._tokenizer.decode(self._new, skip_special_tokens=True)
        stop = min((at for word in self._stop if (at := text.find(word)) >= 0), default=-1)
        if stop >= 0:
            text, self.finish = text[:stop], "stop"
        elif self.finish == "length":
            text = text.rstrip(HALF_A_CHARACTER)
        whole = text if self.finish else text[: len(text) - _held_back(text, self._stop)]
        piece, self._given = whole[self._given :], max(len(whole), self._given)
        if not piece and self.finish is None:
            return None
        ids = tuple(self._new) if self.finish else ()
        return Delta(index=self.index, text=piece, num_tokens=len(ids), finish=self.finish, ids=ids)


def _held_back(text: str, stop: tuple[str, ...]) -> int:
    """How many characters at the end may not be shown yet: an incomplete one, and before it what
    may turn out to be the start of a stop word."""
    whole = text.rstrip(HALF_A_CHARACTER)
    starts = (
        size
        for word in stop
        for size in range(min(len(word), len(whole)), 0, -1)
        if whole.endswith(word[:size])
    )
    return len(text) - len(whole) + max(starts, default=0)


def end_tokens(loaded: Loaded) -> frozenset[int]:
    """Every token that ends a reply: what the model's generation settings and tokenizer name."""
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    named = configured if isinstance(configured, list) else [configured]
    return frozenset(
        token for token in (*named, loaded.tokenizer.eos_token_id) if token is not None
    )
