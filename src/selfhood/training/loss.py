"""Cross-entropy at trained positions: sums and counts, never means.

The caller divides by the trained tokens of the whole update. A mean per pass would let short
replies weigh more than long ones.

    ids ── decoder ── hidden_ND ──┬── head ── logits of 256 positions ── nll, gradient of hidden
                                  ├── head ── logits of the next 256  ── ...
                                  └── ...

Logits exist at trained positions only and for a chunk of them at a time: with a vocabulary of
152,000 they would otherwise take more memory than everything else. Their gradient is written over
them, so that a chunk is held once (as Liger Kernel does, arXiv 2410.10989). The result is the same.

Suffixes: B rows, T slots of a row, M columns, N trained positions, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
            hidden_ND = self._hidden(batch)
            parts = [self._part(hidden_ND, batch, chunk) for chunk in chunks(len(hidden_ND))]
        return _total(parts, batch)

    def backward(self, batch: Batch, *, num_targets: float) -> LossSums:
        """Adds the gradient of nll / ``num_targets`` to that of the trained weights."""
        hidden_ND = self._hidden(batch)
        cut_ND = hidden_ND.detach().requires_grad_()
        parts = [
            self._part_backward(cut_ND, batch, chunk, num_targets) for chunk in chunks(len(cut_ND))
        ]
        if hidden_ND.requires_grad:  # unless nothing but the head is trained
            assert cut_ND.grad is not None
            self._pass_on(hidden_ND, cut_ND.grad)
        return _total(parts, batch)

    def _pass_on(self, hidden_ND: Tensor, grad_ND: Tensor) -> None:
        """From the gradient at the hidden states to that of the weights below."""
        hidden_ND.backward(grad_ND)  # type: ignore[no-untyped-call]

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

    def _part_backward(
        self, hidden_ND: Tensor, batch: Batch, chunk: slice, num_targets: float
    ) -> tuple[Tensor, Tensor]:
        """A function of its own, so that a chunk's logits are gone before the next are made."""
        nll, correct = self._part(hidden_ND, batch, chunk)
        (nll / num_targets).backward()  # type: ignore[no-untyped-call]
        return nll.detach(), correct

    def _part(self, hidden_ND: Tensor, batch: Batch, chunk: slice) -> tuple[Tensor, Tensor]:
        """Weighted nats and hits of a chunk."""
        logits_NV = hidden_ND[chunk] if self._head is None else self._head(hidden_ND[chunk])
        ids_N, weights_N = batch.target_ids_N[chunk], batch.target_weights_N[chunk]
        nll_N, guesses_N = _CrossEntropy.apply(logits_NV.float(), ids_N)  # type: ignore[no-untyped-call]
        return (nll_N * weights_N).sum(), ((guesses_N == ids_N) * weights_N).sum()

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


class _CrossEntropy(torch.autograd.Function):
    """Nats and best guess at each position. Uses up the logits: their gradient replaces them."""

    @staticmethod
    def forward(ctx: Any, logits_NV: Tensor, ids_N: Tensor) -> tuple[Tensor, Tensor]:
        highest_N, guesses_N = logits_NV.max(dim=-1)
        rows_N = torch.arange(len(ids_N), device=ids_N.device)
        exp_NV = logits_NV.sub_(highest_N[:, None])
        target_N = exp_NV[rows_N, ids_N]
        sum_N = exp_NV.exp_().sum(dim=-1)
        grad_NV = exp_NV.div_(sum_N[:, None])
        grad_NV[rows_N, ids_N] -= 1
        ctx.grad_NV = grad_NV
        ctx.mark_non_differentiable(guesses_N)
        return sum_N.log() - target_N, guesses_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.grad_NV.mul_(grads[0][:, None]), None


def chunks(num_targets: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, num_targets, CHUNK)]


def _total(parts: list[tuple[Tensor, Tensor]], batch: Batch) -> LossSums:
    return LossSums(
        nll=sum(float(nll) for nll, _ in parts),
        correct=sum(float(correct) for _, correct in parts),
        weight=float(batch.target_weights_N.sum()),
    )
