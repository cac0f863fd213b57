"""Cross-entropy at trained positions: sums and counts, never means.

The caller divides by the trained tokens of the whole update. A mean per pass would let short
replies weigh more than long ones.

    ids ── decoder ── hidden_ND ──┬── head ── logits of 256 positions ── nll, gradient of hidden
                                  ├── head ── logits of the next 256  ── ...
                                  └── ...

Logits exist at trained positions only and for a chunk of them at a time: with a vocabulary of
152,000 they would otherwise take more memory than everything else. The gradient is the same.

Suffixes: B rows, T slots of a row, M columns, N trained positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from selfhood.training.batch import Batch

CHUNK = 256  # positions; fewer would slow the head's matrix product


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """Numbers of one pass: nats, and tokens guessed right and trained, by weight."""

    nll: float
    correct: float
    weight: float


class ChunkedLoss:
    """The loss of one model, whichever of its weights are trained."""

    def __init__(self, model: Any) -> None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._model = model
        self._decoder = base.get_decoder()
        self._head = base.get_output_embeddings()
        if not self._head_is_all():
            self._decoder = self._head = None

    def measure(self, batch: Batch) -> LossSums:
        """Without a gradient."""
        with torch.no_grad():
            parts = list(self._parts(self._hidden(batch), batch))
        return _total(parts, batch)

    def backward(self, batch: Batch, *, num_targets: float) -> LossSums:
        """Adds the gradient of nll / ``num_targets`` to that of the trained weights."""
        hidden_ND = self._hidden(batch)
        cut_ND = hidden_ND.detach().requires_grad_()
        parts = []
        for nll, correct in self._parts(cut_ND, batch):
            (nll / num_targets).backward()  # type: ignore[no-untyped-call]
            parts.append((nll.detach(), correct))
        if hidden_ND.requires_grad:  # unless nothing but the head is trained
            hidden_ND.backward(cut_ND.grad)  # type: ignore[no-untyped-call]
        return _total(parts, batch)

    def _hidden(self, batch: Batch) -> Tensor:
        """What the head turns into logits, at trained positions; logits where it is not all."""
        inputs = {
            "input_ids": batch.ids_BT,
            "position_ids": batch.positions_BT,
            "attention_mask": batch.mask,
            "use_cache": False,
        }
        if self._decoder is None:
            rows_N = batch.target_slots_N // batch.ids_BT.shape[1]
            slots_N = batch.target_slots_N % batch.ids_BT.shape[1]
            columns_M, column_N = torch.unique(slots_N, return_inverse=True)
            logits_BMV: Tensor = self._model(**inputs, logits_to_keep=columns_M).logits
            return logits_BMV[rows_N, column_N]
        hidden_BTD: Tensor = self._decoder(**inputs).last_hidden_state
        return hidden_BTD.flatten(0, 1)[batch.target_slots_N]

    def _parts(self, hidden_ND: Tensor, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """Weighted nats and hits, chunk by chunk."""
        for start in range(0, len(hidden_ND), CHUNK):
            chunk = slice(start, start + CHUNK)
            logits_NV = hidden_ND[chunk] if self._head is None else self._head(hidden_ND[chunk])
            logits_NV = logits_NV.float()
            ids_N, weights_N = batch.target_ids_N[chunk], batch.target_weights_N[chunk]
            nll_N = functional.cross_entropy(logits_NV, ids_N, reduction="none")
            hits_N = logits_NV.detach().argmax(dim=-1) == ids_N
            yield (nll_N * weights_N).sum(), (hits_N * weights_N).sum()

    @torch.no_grad()
    def _head_is_all(self) -> bool:
        """Whether logits are what the head makes of the last hidden state. Some models go on from
        there (Gemma 2 caps its logits, Granite scales them); asked once, with one token."""
        ids_1T = torch.zeros((1, 1), dtype=torch.long, device=self._model.device)
        logits_1TV = self._model(input_ids=ids_1T, use_cache=False).logits
        hidden_1TD = self._decoder(input_ids=ids_1T, use_cache=False).last_hidden_state
        return torch.equal(self._head(hidden_1TD), logits_1TV)


class WholeLoss(ChunkedLoss):
    """Of a model that must be called as a whole, because its weights come together only then. All
    logits of a pass exist at once, at trained positions."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoder = self._head = None


def _total(parts: list[tuple[Tensor, Tensor]], batch: Batch) -> LossSums:
    return LossSums(
        nll=sum(float(nll) for nll, _ in parts),
        correct=sum(float(correct) for _, correct in parts),
        weight=float(batch.target_weights_N.sum()),
    )
