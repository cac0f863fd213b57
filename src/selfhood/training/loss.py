"""Cross-entropy at trained positions: sums and counts, never means.

The caller divides by the trained tokens of the whole update. A mean per pass would let short
replies weigh more than long ones.

    ids ── decoder ── hidden_ND ──┬── head ── logits of 256 positions ── nll, gradient of hidden
                                  ├── head ── logits of the next 256  ── ...
                                  └── ...

Logits exist at trained positions only and for a chunk of them at a time: with a vocabulary of
152,000 they would otherwise take more memory than everything else. Their gradient is written over
them, so that a chunk is held once (as Liger Kernel does, arXiv 2410.10989), in 16 bits where the
head computes in those: float32 is made of a few rows at a time. The result is the same.

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
ROWS = 16  # positions whose logits are in float32 at a time; they stay in a CPU's cache


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
        share, correct = self._part(hidden_ND, batch, chunk, num_targets)
        share.backward()  # type: ignore[no-untyped-call]
        return share.detach() * num_targets, correct

    def _part(
        self, hidden_ND: Tensor, batch: Batch, chunk: slice, num_targets: float = 1
    ) -> tuple[Tensor, Tensor]:
        """Weighted nats of a chunk by ``num_targets``, and its weighted hits."""
        logits_NV = self._forward.logits(hidden_ND[chunk])
        ids_N, weights_N = batch.target_ids_N[chunk], batch.target_weights_N[chunk]
        nll, guesses_N = _CrossEntropy.apply(logits_NV, ids_N, weights_N / num_targets)  # type: ignore[no-untyped-call]
        return nll, ((guesses_N == ids_N) * weights_N).sum()


class _CrossEntropy(torch.autograd.Function):
    """Weighted nats of all positions, and the best guess at each. Uses up the logits: their
    gradient, weights included so that it is rounded once, replaces them."""

    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, ids_N: Tensor, weights_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        nll_N = torch.empty_like(weights_N)
        guesses_N = torch.empty_like(ids_N)
        for some in slices(len(ids_N), ROWS):
            nll_N[some], guesses_N[some] = _into_gradient(
                logits_NV[some], ids_N[some], weights_N[some]
            )
        ctx.grad_NV = logits_NV
        ctx.mark_non_differentiable(guesses_N)
        return nll_N.sum(), guesses_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.grad_NV.mul_(grads[0]), None, None


def _into_gradient(logits_NV: Tensor, ids_N: Tensor, weights_N: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted nats and best guesses; the logits become the gradient of the nats."""
    rows_N = torch.arange(len(ids_N), device=ids_N.device)
    scores_NV = logits_NV.float()
    highest_N, guesses_N = scores_NV.max(dim=-1)
    exp_NV = scores_NV.sub_(highest_N[:, None])
    target_N = exp_NV[rows_N, ids_N]
    sum_N = exp_NV.exp_().sum(dim=-1)
    grad_NV = exp_NV.mul_((weights_N / sum_N)[:, None])
    grad_NV[rows_N, ids_N] -= weights_N
    logits_NV.copy_(grad_NV)
    return (sum_N.log() - target_N) * weights_N, guesses_N


def chunks(num_targets: int) -> list[slice]:
    return slices(num_targets, CHUNK)


def slices(num: int, width: int) -> list[slice]:
    return [slice(start, start + width) for start in range(0, num, width)]


def _total(parts: list[tuple[Tensor, Tensor]], batch: Batch) -> LossSums:
    return LossSums(
        nll=sum(float(nll) for nll, _ in parts),
        correct=sum(float(correct) for _, correct in parts),
        weight=float(batch.target_weights_N.sum()),
    )
