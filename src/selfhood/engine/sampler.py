"""Logits -> the next token of each row. Suffixes: C candidates, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from selfhood.engine.types import Chance, Sampling

FEW = 1024  # candidates that a nucleus is first looked for among; sorting a vocabulary is slow

COLDEST = 1e-4  # what is drawn below is the likeliest anyway, and quotients overflow


class Sampler:
    """Draws one row's tokens; a seeded generator of its own makes a row independent of others."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    @property
    def takes_likeliest(self) -> bool:
        """Whether the choice is the largest logit, whatever was said before."""
        return self._is_greedy and self.sampling.repetition_penalty == 1.0

    def pick(self, logits_V: Tensor, seen: Sequence[int]) -> int:
        """The next token; ``seen`` are the row's tokens so far."""
        if self.sampling.repetition_penalty != 1.0 and seen:
            logits_V = self._penalise(logits_V, seen)
        if self._is_greedy:
            return int(logits_V.argmax())
        return self._draw(logits_V / self.sampling.temperature)

    @property
    def _is_greedy(self) -> bool:
        return self.sampling.temperature < COLDEST

    def _penalise(self, logits_V: Tensor, seen: Sequence[int]) -> Tensor:
        """Divide positive and multiply negative scores of seen tokens (CTRL, arXiv 1909.05858)."""
        ids = torch.tensor(sorted(set(seen)))
        scores = logits_V[ids]
        penalty = self.sampling.repetition_penalty
        logits_V = logits_V.clone()
        logits_V[ids] = torch.where(scores > 0, scores / penalty, scores * penalty)
        return logits_V

    def _draw(self, logits_V: Tensor) -> int:
        probabilities_C, ids_C = self._candidates(logits_V.softmax(dim=-1))
        if self.sampling.top_p < 1:
            # A token stays while those before it have not yet reached top_p; the first always does.
            before_C = probabilities_C.cumsum(dim=-1) - probabilities_C
            probabilities_C = probabilities_C * (before_C < self.sampling.top_p)
            probabilities_C[0] = probabilities_C[0].clamp(min=torch.finfo(torch.float32).tiny)
        chosen = torch.multinomial(probabilities_C, 1, generator=self._generator)
        return int(ids_C[chosen])

    def _candidates(self, probabilities_V: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest tokens, in order: ``top_k`` of them, or as many as ``top_p`` needs."""
        size, top_p = len(probabilities_V), self.sampling.top_p
        if not self.sampling.top_k and top_p >= 1:
            return probabilities_V, torch.arange(size)
        num = min(self.sampling.top_k or FEW, size)
        found_C, ids_C = probabilities_V.topk(num)
        if not self.sampling.top_k and found_C.sum() < top_p:
            found_C, ids_C = probabilities_V.sort(descending=True)
        # With both, top_p is a share of what top_k has left.
        return found_C / found_C.sum() if self.sampling.top_k else found_C, ids_C


def weigh(logits_V: Tensor, token: int, num_others: int, decode: Callable[[int], str]) -> Chance:
    """How likely the model itself found a token, whatever the drawing made of that."""
    logprobs_V = logits_V.float().log_softmax(dim=-1)
    others = []
    if num_others:
        found, ids = logprobs_V.topk(min(num_others, len(logprobs_V)))
        others = [
            (decode(each), value) for each, value in zip(ids.tolist(), found.tolist(), strict=True)
        ]
    return Chance(token=decode(token), logprob=float(logprobs_V[token]), others=tuple(others))
