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
from selfhood.training.forward import Forward

CHUNK = 256  # positions; fewer would slow the head's matrix product


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """Numbers of one pass: nats, and tokens guessed right and trained, by weight."""

    nll: float
    correct: float
    weight: float


class ChunkedLoss:
    """The loss of one model."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def measure(self, batch: Batch) -> LossSums:
        """Without a gradient."""
        with torch.no_grad():
            hidden_ND = self._forward.hidden(batch)
            parts = [self._part(hidden_ND, batch, chunk) for chunk in chunks(len(hidden_ND))]
        return _total(parts, batch)

    def backward(self, batch: Batch, *, num_targets: float) -> LossSums:
        """Adds the gradient of nll / ``num_targets`` to that of the trained weights."""
        hidden_ND = self._forward.hidden(batch)
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

    def _part_backward(
        self, hidden_ND: Tensor, batch: Batch, chunk: slice, num_targets: float
    ) -> tuple[Tensor, Tensor]:
        """A function of its own, so that a chunk's logits are gone before the next are made."""
        nll, correct = self._part(hidden_ND, batch, chunk)
        (nll / num_targets).backward()  # type: ignore[no-untyped-call]
        return nll.detach(), correct

    def _part(self, hidden_ND: Tensor, batch: Batch, chunk: slice) -> tuple[Tensor, Tensor]:
        """Weighted nats and hits of a chunk."""
        logits_NV = self._forward.logits(hidden_ND[chunk])
        ids_N, weights_N = batch.target_ids_N[chunk], batch.target_weights_N[chunk]
        nll_N, guesses_N = _CrossEntropy.apply(logits_NV.float(), ids_N)  # type: ignore[no-untyped-call]
        return (nll_N * weights_N).sum(), ((guesses_N == ids_N) * weights_N).sum()


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
