"""The loss on rows that are not trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from selfhood.data.encode import Sample
from selfhood.model.load import Loaded
from selfhood.training.budget import Budget
from selfhood.training.loss import ChunkedLoss
from selfhood.training.metrics import EvalRecord
from selfhood.training.passes import Passes
from selfhood.training.thrift import Thrift
from selfhood.training.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The validation rows of a run, and what measures them."""

    samples: Sequence[Sample]
    loaded: Loaded
    loss: ChunkedLoss
    passes: Passes
    thrift: Thrift
    world: World

    def hold(self, update: int) -> EvalRecord:
        """Loss and hits by token, after update number ``update``."""
        started = time.monotonic()
        self.loaded.model.eval()
        sums = self.thrift.run(self._measure)
        self.loaded.model.train()
        nll, correct, weight = self.world.sum_numbers(*sums)
        return EvalRecord(
            update=update,
            eval_loss=nll / weight,
            eval_token_acc=correct / weight,
            eval_runtime=time.monotonic() - started,
        )

    def _measure(self, budget: Budget) -> tuple[float, float, float]:
        """Nats, hits and weight of this process's share."""
        nll = correct = weight = 0.0
        for each in self.passes.of(self.samples, budget.tokens):
            sums = self.loss.measure(self.passes.batch(each))
            nll += sums.nll
            correct += sums.correct
            weight += sums.weight
        return nll, correct, weight
