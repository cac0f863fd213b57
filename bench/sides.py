"""The two ways to the gradient of one update that the benches compare."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from selfhood.data.encode import Sample
from selfhood.training.batch import Batch, to_batch
from selfhood.training.forward import Forward
from selfhood.training.loss import ChunkedLoss
from selfhood.training.schedule import Pack, pack

Side = Callable[[Any, Sequence[Sample]], None]


@functools.cache  # it asks the model a question when it is made
def loss_of(model: Any) -> ChunkedLoss:
    return ChunkedLoss(Forward(model, dtype=model.dtype))


def plain(model: Any, samples: Sequence[Sample]) -> None:
    """A row at a time, logits at every token: batch 1 x accumulation 16, as it is elsewhere."""
    weight = sum(sample.num_trained for sample in samples)
    for sample in samples:
        ids_1T = torch.tensor([sample.ids], device=model.device)
        trained_T = torch.tensor(sample.trained, device=model.device)
        logits_TV = model(input_ids=ids_1T, use_cache=False).logits[0, :-1].float()
        nll = functional.cross_entropy(
            logits_TV[trained_T[1:]], ids_1T[0, 1:][trained_T[1:]], reduction="sum"
        )
        (nll / weight).backward()  # type: ignore[no-untyped-call]


def packed(token_budget: int, make_batch: Callable[..., Batch] = to_batch) -> Side:
    """The same gradient by selfhood's schedule."""

    def update(model: Any, samples: Sequence[Sample]) -> None:
        loss = loss_of(model)
        packs = pack(samples, token_budget)
        weight = sum(sum(each.target_weights) for each in packs)
        for each in packs:
            batch = make_batch(each, device=model.device, dtype=model.dtype)
            loss.backward(batch, num_targets=weight)

    return update


def flex_batch(pack: Pack, *, device: torch.device, dtype: torch.dtype) -> Batch:
    """The pack with its mask in blocks, of which flex attention skips those that nobody sees. For
    a model whose attention is ``flex_attention``; training needs a GPU."""
    from torch.nn.attention.flex_attention import create_block_mask

    batch = to_batch(pack, device=device, dtype=dtype)
    if batch.mask is None:
        return batch
    last_T = batch.last_BT[0]

    def sees(row: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return (j <= i) & (i <= last_T[j])

    blocks: Any = create_block_mask(sees, None, None, len(last_T), len(last_T), device=str(device))
    return replace(batch, mask=blocks)
