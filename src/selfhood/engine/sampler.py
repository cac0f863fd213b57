"""Logits -> the next token of each row. Suffixes: B rows, V vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from selfhood.engine.types import Sampling


class Sampler:
    """Draws one row's tokens; a seeded generator of its own makes a row independent of others."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def pick(self, logits_V: Tensor, seen: list[int]) -> int:
        """The next token; ``seen`` are the row's tokens so far."""
        logits_V = logits_V.float().cpu()
        if self.sampling.repetition_penalty != 1.0 and seen:
            logits_V = self._penalise(logits_V, seen)
        if self.sampling.temperature == 0:
            return int(logits_V.argmax())
        return self._draw(logits_V / self.sampling.temperature)

    def _penalise(self, logits_V: Tensor, seen: list[int]) -> Tensor:
        """Divide positive and multiply negative scores of seen tokens (CTRL, arXiv 1909.05858)."""
        ids = torch.tensor(sorted(set(seen)))
        scores = logits_V[ids]
        penalty = self.sampling.repetition_penalty
        logits_V = logits_V.clone()
        logits_V[ids] = torch.where(scores > 0, scores / penalty, scores * penalty)
        return logits_V

    def _draw(self, logits_V: Tensor) -> int:
        ranked, ids = logits_V.sort(descending=True)
        probabilities = ranked.softmax(dim=-1)
        keep = torch.ones_like(probabilities, dtype=torch.bool)
        if self.sampling.top_k:
            keep[self.sampling.top_k :] = False
        if self.sampling.top_p < 1:
            # A token stays while those before it have not yet reached top_p; the first always does.
            keep &= probabilities.cumsum(dim=-1) - probabilities < self.sampling.top_p
        keep[0] = True
        chosen = torch.multinomial(probabilities * keep, 1, generator=self._generator)
        return int(ids[chosen])
