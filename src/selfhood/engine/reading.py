"""One pass of the model over the next tokens of many rows.

    RowReader     all rows lie one behind the other: one forward a pass, whoever speaks
    SingleReader  a model that keeps more than keys and values (Mamba, linear attention), or attends
                  in a way of its own: a forward a row, with transformers' own cache

Suffixes: T tokens of the pass, R rows, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from selfhood.engine.attention import Span, register, row_attention
from selfhood.engine.kv_cache import Cache, KVCache
from selfhood.model.adapters import plain_adapters, speaking_as
from selfhood.model.load import Loaded
from selfhood.model.segments import Segment, in_segments
from selfhood.model.tuners.prompt import VirtualTokens, virtual_tokens, without_peft
from selfhood.training.layout import layout_of

VIRTUAL = -1  # stands for a token that has no id


class Piece(Protocol):
    """Some next tokens of a row, for one pass."""

    @property
    def adapter(self) -> str | None: ...

    @property
    def cache(self) -> Cache: ...

    @property
    def ids(self) -> Sequence[int]: ...


class Reader(Protocol):
    """Reads pieces, and says what may follow."""

    def new_cache(self, adapter: str | None) -> Cache:
        """For a row of that speaker; virtual tokens have been read already."""

    def read(self, pieces: Sequence[Piece], num_last: int = 1) -> Tensor:
        """The logits after the last ``num_last`` tokens of each piece, (R, V), one piece's behind
        the other's."""


def reader_of(loaded: Loaded) -> Reader:
    """The one that the model allows."""
    config = loaded.model.config
    text = config.get_text_config(decoder=True)
    has_caps = getattr(text, "attn_logit_softcapping", None) is not None  # Gemma 2
    has_sinks = text.model_type == "gpt_oss"
    is_plain = layout_of(config).obstacle is None and not has_caps and not has_sinks
    return RowReader(loaded) if is_plain else SingleReader(loaded)


class RowReader:
    """For models whose layers remember keys and values."""

    def __init__(self, loaded: Loaded) -> None:
        register()
        self._model = loaded.model
        self._base = without_peft(loaded.model)
        self._device = loaded.device
        self._plain = plain_adapters(loaded.model)

    def new_cache(self, adapter: str | None) -> KVCache:
        cache = KVCache()
        virtual = _virtual(self._model, adapter)
        if virtual is not None:
            for number, layer in enumerate(_cache_of(virtual, self._base).layers):
                cache.put(number, torch.stack((layer.keys[0], layer.values[0])))
            cache.ids = [VIRTUAL] * virtual.num
        return cache

    def read(self, pieces: Sequence[Piece], num_last: int = 1) -> Tensor:
        passes = self._passes(pieces)
        logits = [self._pass([pieces[number] for number in each], num_last) for each in passes]
        order = [number for each in passes for number in each]
        if len(passes) == 1 and order == sorted(order):
            return logits[0]
        sizes = [min(num_last, len(pieces[number].ids)) for number in order]
        rows = dict(zip(order, torch.split(torch.cat(logits), sizes), strict=True))
        return torch.cat([rows[number] for number in range(len(pieces))])

    def _passes(self, pieces: Sequence[Piece]) -> list[list[int]]:
        """Numbers of pieces that are read together, those of one speaker side by side. A speaker
        that is more than a plain LoRA has a pass of its own."""
        by_speaker: dict[str | None, list[int]] = {}
        for number, piece in enumerate(pieces):
            by_speaker.setdefault(piece.adapter, []).append(number)
        together = [
            number
            for name, numbers in by_speaker.items()
            if name in self._plain
            for number in numbers
        ]
        alone = [numbers for name, numbers in by_speaker.items() if name not in self._plain]
        return [together, *alone] if together else alone

    def _pass(self, pieces: Sequence[Piece], num_last: int) -> Tensor:
        ids: list[int] = []
        positions: list[int] = []
        last: list[int] = []
        spans: list[Span] = []
        segments: list[Segment] = []
        for piece in pieces:
            start, past = len(ids), len(piece.cache)
            ids += piece.ids
            positions += range(past, past + len(piece.ids))
            last += range(max(start, len(ids) - num_last), len(ids))
            assert isinstance(piece.cache, KVCache)
            spans.append(Span(start, len(ids), piece.cache))
            segments.append(Segment(start, len(ids), piece.adapter))
        with self._spoken_by(segments), row_attention(self._base):
            logits_RV: Tensor = self._base(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=torch.tensor([positions], device=self._device),
                use_cache=False,
                # An index, not a number: that would hand a strided slice to the head, which torch
                # multiplies by copying the whole vocabulary matrix once per row.
                logits_to_keep=torch.tensor(last, device=self._device),
                spans=spans,
            ).logits[0]
        for piece in pieces:
            piece.cache.ids += piece.ids
        return logits_RV

    @contextlib.contextmanager
    def _spoken_by(self, segments: Sequence[Segment]) -> Iterator[None]:
        """By each segment's own, where all of them can be told apart in one pass."""
        (first, *_) = segments
        if first.adapter in self._plain:
            with in_segments(_joined(segments)):
                yield
        else:
            with speaking_as(self._model, first.adapter):
                yield


class SingleReader:
    """For any model that transformers can generate with."""

    def __init__(self, loaded: Loaded) -> None:
        self._model = loaded.model
        self._base = without_peft(loaded.model)
        self._device = loaded.device

    def new_cache(self, adapter: str | None) -> StateCache:
        from transformers import DynamicCache

        virtual = _virtual(self._model, adapter)
        if virtual is None:
            return StateCache(DynamicCache(config=self._base.config))
        return StateCache(_cache_of(virtual, self._base), [VIRTUAL] * virtual.num)

    def read(self, pieces: Sequence[Piece], num_last: int = 1) -> Tensor:
        return torch.cat([self._read_one(piece, num_last) for piece in pieces])

    def _read_one(self, piece: Piece, num_last: int) -> Tensor:
        assert isinstance(piece.cache, StateCache)
        past, num_new = len(piece.cache), len(piece.ids)
        first = max(0, num_new - num_last)
        with speaking_as(self._model, piece.adapter):
            logits_RV: Tensor = self._base(
                input_ids=torch.tensor([list(piece.ids)], device=self._device),
                position_ids=torch.arange(past, past + num_new, device=self._device)[None],
                past_key_values=piece.cache.state,
                use_cache=True,
                logits_to_keep=torch.arange(first, num_new, device=self._device),
            ).logits[0]
        piece.cache.ids += piece.ids
        return logits_RV


class StateCache:
    """transformers' cache, of whatever kind the model has. It goes on, and never back."""

    can_fork = False

    def __init__(self, state: Any, ids: Sequence[int] = ()) -> None:
        self.state = state
        self.most_tokens: int | None = None
        self.ids = list(ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def held(self) -> int:
        return len(self.ids)

    def shares(self, ids: Sequence[int]) -> int:
        return len(self.ids) if list(ids[: len(self.ids)]) == self.ids else 0

    def fork(self, num_tokens: int) -> StateCache:
        raise NotImplementedError("a state is not taken apart")

    def cut(self, num_tokens: int) -> None:
        assert num_tokens == len(self.ids), "a state is not taken apart"


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """Neighbours of one speaker as one segment."""
    joined: list[Segment] = []
    for segment in segments:
        if joined and joined[-1].adapter == segment.adapter:
            joined[-1] = Segment(joined[-1].start, segment.end, segment.adapter)
        else:
            joined.append(segment)
    return joined


def _virtual(model: Any, adapter: str | None) -> VirtualTokens | None:
    if adapter is None:
        return None
    with speaking_as(model, adapter):
        return virtual_tokens(model, batch_size=1)


def _cache_of(virtual: VirtualTokens, base: Any) -> Any:
    """Their keys and values, which do not depend on what comes after them."""
    if virtual.cache is not None:
        return virtual.cache
    return base(inputs_embeds=virtual.embeddings_BVD, use_cache=True).past_key_values
