"""Keys and values of one row, in all layers: what a reply needs of the tokens before it.

A cache outlives its reply: the next turn of a talk, or another talk with the same system line,
goes on from the tokens that both begin with.

Suffixes: K heads of keys, T new tokens, S tokens in store, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import Tensor

STEP = 64  # tokens by which the store grows, at least


class Cache(Protocol):
    """What has been read of a row. ``ids`` are its tokens; virtual ones have no id, but -1."""

    ids: list[int]
    most_tokens: int | None
    """How long its row can become, where that is known: no more room is made."""

    @property
    def can_fork(self) -> bool: ...

    @property
    def held(self) -> int:
        """Tokens that there is room for, which is what it takes of the memory."""

    def __len__(self) -> int: ...

    def shares(self, ids: Sequence[int]) -> int:
        """With how many of its tokens the row begins, so that ``fork`` or ``cut`` can keep them."""

    def fork(self, num_tokens: int) -> Self:
        """A cache of its own that begins with the first of these tokens."""

    def cut(self, num_tokens: int) -> None:
        """Forget all but the first tokens."""


class KVCache:
    """One store for each layer, which grows with the row."""

    can_fork = True

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.most_tokens: int | None = None
        self._layers: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def held(self) -> int:
        """In one layer; all of them hold as much, but for the moment in which they grow."""
        return next((store_2KSD.shape[2] for store_2KSD in self._layers.values()), 0)

    def put(self, layer: int, new_2KTD: Tensor) -> Tensor:
        """Store the new tokens' keys and values behind those of ``ids``; all that there are then,
        (2, K, S, D). They count as stored once ``ids`` has their tokens: a pass that is cut short
        leaves nothing."""
        past = len(self.ids)
        end = past + new_2KTD.shape[2]
        store_2KSD = self._room(layer, end, like=new_2KTD)
        store_2KSD[:, :, past:end] = new_2KTD
        return store_2KSD[:, :, :end]

    def shares(self, ids: Sequence[int]) -> int:
        for number, (own, other) in enumerate(zip(self.ids, ids, strict=False)):
            if own != other:
                return number
        return min(len(self.ids), len(ids))

    def fork(self, num_tokens: int) -> KVCache:
        new = KVCache()
        for layer, store_2KSD in self._layers.items():
            new.put(layer, store_2KSD[:, :, :num_tokens])
        new.ids = self.ids[:num_tokens]
        return new

    def cut(self, num_tokens: int) -> None:
        del self.ids[num_tokens:]

    def _room(self, layer: int, num_tokens: int, like: Tensor) -> Tensor:
        there = self._layers.get(layer)
        if there is not None and there.shape[2] >= num_tokens:
            return there
        # Half as much again as is needed, so that a long reply is moved a few times only.
        size = -(-max(num_tokens * 3 // 2, STEP) // STEP) * STEP
        if self.most_tokens is not None:
            size = max(min(size, self.most_tokens), num_tokens)
        two, heads, _, width = like.shape
        store_2KSD = torch.empty(two, heads, size, width, dtype=like.dtype, device=like.device)
        if there is not None:
            store_2KSD[:, :, : there.shape[2]] = there
        self._layers[layer] = store_2KSD
        return store_2KSD
