"""Cross-entropy at trained positions, KL to the base at kept ones: sums and counts, never means.

The caller divides by the tokens of the whole update. A mean per pass would let short replies weigh
more than long ones. At the anchor's positions (``training.anchor``) it is the divergence
KL(base || tuned), over the whole vocabulary: the base's logits are made from its hidden states by
the head that both share.

    ids ── decoder ── hidden_ND ──┬── head ── logits of 256 positions ── nll, gradient of hidden
                                  ├── head ── logits of the next 256  ── ...
                                  └── ...

Logits exist at trained positions only and for a chunk of them at a time: with a vocabulary of
152,000 they would otherwise take more memory than everything else. Their gradient is written over
them, so that a chunk is held once (as Liger Kernel does, arXiv 2410.10989), in 16 bits where the
head computes in those: float32 is made of a few rows at a time. The result is the same.

Suffixes: B rows, T slots of a row, M columns, N trained positions, K kept ones, D width, V
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfhood.model.autograd import Step
from selfhood.training.batch import Batch, KeptBatch
from selfhood.training.forward import Forward

CHUNK = 256  # positions; fewer would slow the head's matrix product
ROWS = 16  # positions whose logits are in float32 at a time; they stay in a CPU's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSums:
    """Numbers of one pass: nats, and tokens guessed right and trained, by weight; nats of
    divergence from the base."""

    nll: float
    correct: float
    weight: float
    divergence: float


class ChunkedLoss:
    """The loss of one model."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def measure(self, batch: Batch) -> LossSums:
        """Without a gradient."""
        with torch.no_grad():
            hidden_ND, hidden_KD = self._split(self._forward.hidden(batch), batch)
            parts = [self._part(hidden_ND, batch, chunk) for chunk in chunks(len(hidden_ND))]
            kept = [self._kept(hidden_KD, batch.kept, chunk) for chunk in chunks(len(hidden_KD))]
        return _total(parts, kept, batch)

    def backward(self, batch: Batch, *, num_targets: float, anchor_share: float = 0.0) -> LossSums:
        """Adds the gradient of nll / ``num_targets`` + ``anchor_share`` * divergence to that of the
        trained weights."""
        hidden = self._forward.hidden(batch)
        cut = hidden.detach().requires_grad_()
        cut_ND, cut_KD = self._split(cut, batch)
        parts = [
            self._part_backward(cut_ND, batch, chunk, num_targets) for chunk in chunks(len(cut_ND))
        ]
        kept = [
            self._kept_backward(cut_KD, batch, chunk, anchor_share) for chunk in chunks(len(cut_KD))
        ]
        if hidden.requires_grad:  # unless nothing but the head is trained
            assert cut.grad is not None
            self._pass_on(hidden, cut.grad)
        return _total(parts, kept, batch)

    def _split(self, hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is learnt, (N, D), and what is kept, (K, D)."""
        num_learnt = len(batch.target_slots_N)
        return hidden[:num_learnt], hidden[num_learnt:]

    def _pass_on(self, hidden_ND: Tensor, grad_ND: Tensor) -> None:
        """From the gradient at the hidden states to that of the weights below."""
        torch.autograd.backward(hidden_ND, grad_ND)

    def _part_backward(
        self, hidden_ND: Tensor, batch: Batch, chunk: slice, num_targets: float
    ) -> tuple[Tensor, Tensor]:
        """A function of its own, so that a chunk's logits are gone before the next are made."""
        share, correct = self._part(hidden_ND, batch, chunk, num_targets)
        torch.autograd.backward(share)
        return share.detach() * num_targets, correct

    def _kept_backward(
        self, hidden_KD: Tensor, batch: Batch, chunk: slice, anchor_share: float
    ) -> Tensor:
        share = self._kept(hidden_KD, batch.kept, chunk, anchor_share)
        torch.autograd.backward(share)
        return share.detach() / anchor_share

    def _kept(
        self, hidden_KD: Tensor, kept: KeptBatch | None, chunk: slice, anchor_share: float = 1
    ) -> Tensor:
        """Weighted nats of divergence of a chunk, times ``anchor_share``."""
        assert kept is not None
        with torch.no_grad():
            base_KV = self._forward.logits(kept.base_hidden_KD[chunk])
        logits_KV = self._forward.logits(hidden_KD[chunk])
        weights_K = kept.weights_K[chunk] * anchor_share
        divergence: Tensor = _Divergence.of(logits_KV, base_KV, weights_K)
        return divergence

    def _part(
        self, hidden_ND: Tensor, batch: Batch, chunk: slice, num_targets: float = 1
    ) -> tuple[Tensor, Tensor]:
        """Weighted nats of a chunk by ``num_targets``, and its weighted hits."""
        logits_NV = self._forward.logits(hidden_ND[chunk])
        ids_N, weights_N = batch.target_ids_N[chunk], batch.target_weights_N[chunk]
        nll, guesses_N = _CrossEntropy.of(logits_NV, ids_N, weights_N / num_targets)
        return nll, ((guesses_N == ids_N) * weights_N).sum()


class _CrossEntropy(Step):
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


class _Divergence(Step):
    """Weighted KL(base || tuned) of all positions. Uses up the tuned logits: the gradient, weights
    included, replaces them. It is softmax(tuned) - softmax(base)."""

    @staticmethod
    def forward(ctx: Any, logits_KV: Tensor, base_KV: Tensor, weights_K: Tensor) -> Tensor:
        kl_K = torch.empty_like(weights_K)
        for some in slices(len(weights_K), ROWS):
            kl_K[some] = _into_pull(logits_KV[some], base_KV[some], weights_K[some])
        ctx.grad_KV = logits_KV
        return kl_K.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return ctx.grad_KV.mul_(grads[0]), None, None


def _into_pull(logits_KV: Tensor, base_KV: Tensor, weights_K: Tensor) -> Tensor:
    """Weighted divergence; the tuned logits become its gradient."""
    tuned_KV = logits_KV.float().log_softmax(dim=-1)
    base_KV = base_KV.float().log_softmax(dim=-1)
    likely_KV = base_KV.exp()
    kl_K = (base_KV.sub_(tuned_KV).mul_(likely_KV)).sum(dim=-1)
    logits_KV.copy_(tuned_KV.exp_().sub_(likely_KV).mul_(weights_K[:, None]))
    return kl_K * weights_K


def chunks(num_targets: int) -> list[slice]:
    return slices(num_targets, CHUNK)


def slices(num: int, width: int) -> list[slice]:
    return [slice(start, start + width) for start in range(0, num, width)]


def _total(parts: list[tuple[Tensor, Tensor]], kept: list[Tensor], batch: Batch) -> LossSums:
    return LossSums(
        nll=sum(float(nll) for nll, _ in parts),
        correct=sum(float(correct) for _, correct in parts),
        weight=float(batch.target_weights_N.sum()),
        divergence=sum(float(divergence) for divergence in kept),
    )
