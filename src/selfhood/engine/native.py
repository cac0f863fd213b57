"""The engine in this process: one batch that never ends, whoever asks and whoever answers.

    stream ──► Row ──► Batch ──► Reader ──► Row.say ──► inbox ──► stream
               (row)   (batch)   (reading)  (sampler, speech)

Each thread that waits for words makes the next pass for all, in turn (``turns``). An engine
remembers what it has read: after the weights have changed, a new one is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from selfhood.data.render import Renderer
from selfhood.engine.batch import Batch
from selfhood.engine.reading import VIRTUAL, reader_of
from selfhood.engine.row import Inbox, Row
from selfhood.engine.scorer import Scorer
from selfhood.engine.turns import Turns
from selfhood.engine.types import (
    MOST_AT_ONCE,
    Chance,
    Delta,
    Passage,
    Request,
    Text,
    check_speaker,
)
from selfhood.errors import InputError
from selfhood.model.adapters import load_adapter, remove_adapter
from selfhood.model.load import Loaded, context_length
from selfhood.model.tuners.prompt import num_virtual_tokens

MOST_TOKENS = 32768  # in all caches together; of a 0.5B model that is 0.4 GB, of a 7B 1.8 GB


class NativeEngine:
    """Answers with the loaded model, as itself or as any adapter on it. A ``Host``."""

    def __init__(
        self,
        loaded: Loaded,
        renderer: Renderer,
        *,
        most_rows: int = MOST_AT_ONCE,
        most_tokens: int = MOST_TOKENS,
    ) -> None:
        self.loaded = loaded
        self.renderer = renderer
        self.ends = end_tokens(loaded)
        self._context = context_length(loaded.model.config)
        self._turns = Turns()
        self._reader = reader_of(loaded)
        self._leaving: set[str] = set()
        self._batch = Batch(
            most_rows=most_rows,
            most_tokens=max(most_tokens, self._context),
            new_cache=lambda adapter: self._reader.new_cache(adapter),
        )

    @property
    def speakers(self) -> tuple[str, ...]:
        there = getattr(self.loaded.model, "peft_config", {})
        return tuple(name for name in there if name not in self._leaving)

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """The replies' pieces, interleaved as they are decoded."""
        inbox = Inbox()
        rows = [self._row(index, request, inbox) for index, request in enumerate(requests)]
        num_unfinished = len(rows)
        self._batch.join(rows)
        try:
            while num_unfinished:
                self._turns.work_until(lambda: bool(inbox), self._step)
                while inbox:
                    delta = inbox.popleft()
                    if isinstance(delta, Exception):
                        raise delta
                    num_unfinished -= delta.finish is not None
                    yield delta
        finally:
            for row in rows:
                row.is_done = True

    def score(self, passages: Sequence[Passage]) -> list[tuple[Chance, ...]]:
        """The chances of each passage's tokens."""
        for passage in passages:
            check_speaker(passage.adapter, self.speakers)
        scorer = Scorer(self._reader, self.loaded, self._encode)
        found = []
        for passage in passages:
            weighing, chances = scorer.weigh(passage), list[Chance]()
            while True:  # a turn for each part, so that a long passage holds up nobody
                with self._turns.alone(), torch.inference_mode():
                    part = next(weighing, None)
                if part is None:
                    break
                chances += part
            found.append(tuple(chances))
        return found

    def add_speaker(self, name: str, folder: Path) -> None:
        if name in self.speakers:
            raise InputError(f"an adapter is called {name!r} already", hint="remove that one first")
        with self._turns.alone():
            self._drop_who_left()
            if name in self._leaving:
                raise InputError(f"{name!r} has still to finish replies", hint="try again later")
            model = load_adapter(self.loaded.model, folder, name=name)
            self._carry(model)

    def remove_speaker(self, name: str) -> None:
        check_speaker(name, self.speakers)
        self._leaving.add(name)
        with self._turns.alone():
            self._drop_who_left()

    def close(self) -> None:
        with self._turns.alone():
            self._batch.fail(InputError("the engine is closed"))

    def _carry(self, model: object) -> None:
        """The model with other adapters on it than before."""
        self.loaded = replace(self.loaded, model=model)
        self._reader = reader_of(self.loaded)

    def _row(self, index: int, request: Request, inbox: Inbox) -> Row:
        check_speaker(request.adapter, self.speakers)
        num_virtual = num_virtual_tokens(self.loaded.model, request.adapter)
        ids = [VIRTUAL] * num_virtual + self._prompt(request)
        room = self._context - len(ids)
        if room < 1:
            raise InputError(
                f"the talk is {len(ids)} tokens long, the model holds {self._context}",
                hint="start a new one (in a talk: clear)",
            )
        return Row(
            index,
            request,
            prompt=ids,
            num_virtual=num_virtual,
            room=min(request.sampling.max_new_tokens, room),
            tokenizer=self.loaded.tokenizer,
            ends=self.ends,
            inbox=inbox,
        )

    def _prompt(self, request: Request) -> list[int]:
        if request.text is not None:
            return self._encode(request.text)
        prompt = self.renderer.prompt(
            request.messages, thinking=request.thinking, tools=request.tools
        )
        return self._encode(prompt)

    def _encode(self, text: Text) -> list[int]:
        if isinstance(text, str):
            return list(self.loaded.tokenizer.encode(text, add_special_tokens=False))
        size = self.loaded.model.config.get_text_config().vocab_size
        if text and not 0 <= min(text) <= max(text) < size:
            raise InputError(f"the model knows the tokens 0 to {size - 1} only")
        return list(text)

    def _step(self) -> None:
        """One pass, and the words that come of it."""
        try:
            with torch.inference_mode():
                readings = self._batch.next_readings()
                self._drop_who_left()
                if readings:
                    speaking = [reading.is_last for reading in readings]
                    logits_RV = self._reader.read(readings)
                    _say([reading.row for reading in readings], speaking, logits_RV)
        except Exception as error:
            self._batch.fail(error)

    def _drop_who_left(self) -> None:
        """Adapters that are to go and have nothing more to say."""
        for name in self._leaving - self._batch.adapters:
            self._leaving.discard(name)
            self._batch.forget(name)
            self._carry(remove_adapter(self.loaded.model, name))


def _say(rows: Sequence[Row], speaking: Sequence[bool], logits_RV: Tensor) -> None:
    """The next token of each row that speaks; the plainest choice is made for all at once."""
    likeliest = logits_RV.max(dim=-1).indices.tolist()
    for row, speaks, token, logits_V in zip(rows, speaking, likeliest, logits_RV, strict=True):
        if speaks and row.takes_likeliest:
            row.take(token)
        elif speaks:
            row.say(logits_V.float().cpu())


def end_tokens(loaded: Loaded) -> frozenset[int]:
    """Every token that ends a reply: what the model's generation settings and tokenizer name."""
    configured = getattr(loaded.model.generation_config, "eos_token_id", None)
    named = configured if isinstance(configured, list) else [configured]
    return frozenset(
        token for token in (*named, loaded.tokenizer.eos_token_id) if token is not None
    )
