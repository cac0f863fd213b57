"""How likely a model finds a text, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from selfhood.engine.kv_cache import Cache
from selfhood.engine.reading import VIRTUAL, Reader
from selfhood.engine.sampler import weigh
from selfhood.engine.types import Chance, Passage, Text
from selfhood.errors import InputError
from selfhood.model.load import Loaded, context_length
from selfhood.model.tuners.prompt import num_virtual_tokens

AT_ONCE = 128  # tokens: each of them has a logit for every word


@dataclass(frozen=True, slots=True)
class _Piece:
    adapter: str | None
    cache: Cache
    ids: list[int]


class Scorer:
    """Weighs one passage after the other; one that begins like the last is read from there."""

    def __init__(self, reader: Reader, loaded: Loaded, encode: Callable[[Text], list[int]]) -> None:
        self._reader = reader
        self._loaded = loaded
        self._encode = encode
        self._adapter: str | None = None
        self._cache: Cache | None = None

    def weigh(self, passage: Passage) -> Iterator[list[Chance]]:
        """Of each token of its text, some at a time; what stands before a token says how likely
        it is."""
        num_virtual = num_virtual_tokens(self._loaded.model, passage.adapter)
        before = [VIRTUAL] * num_virtual + self._encode(passage.prompt)
        ids = before + self._encode(passage.text)
        context = context_length(self._loaded.model.config)
        if len(ids) > context:
            raise InputError(
                f"the passage is {len(ids)} tokens long, the model holds {context}",
                hint="weigh it in parts",
            )
        first = max(len(before), 1)
        cache = self._cache_for(passage.adapter, ids, most=first - 1)
        for start in range(len(cache), len(ids) - 1, AT_ONCE):
            piece = ids[start : min(start + AT_ONCE, len(ids) - 1)]
            read = _Piece(passage.adapter, cache, piece)
            num_weighed = min(len(piece), start + len(piece) - (first - 1))
            logits_RV = self._reader.read([read], num_last=max(num_weighed, 1))
            end = start + len(piece) + 1
            nexts = ids[end - num_weighed : end] if num_weighed > 0 else []
            yield [
                weigh(logits_V.cpu(), token, passage.num_logprobs, self._decode_one)
                for logits_V, token in zip(logits_RV, nexts, strict=False)
            ]

    def _cache_for(self, adapter: str | None, ids: list[int], *, most: int) -> Cache:
        """What has been read already of the row, up to ``most`` tokens."""
        cache = self._cache if self._adapter == adapter else None
        shared = 0 if cache is None else min(cache.shares(ids), most)
        if cache is None or (shared < len(cache) and not cache.can_fork):
            cache = self._reader.new_cache(adapter)
        else:
            cache.cut(shared)
        self._adapter, self._cache = adapter, cache
        return cache

    def _decode_one(self, token: int) -> str:
        return str(self._loaded.tokenizer.decode([token]))
