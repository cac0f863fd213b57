"""Work that runs out of memory is done again with less, and nothing is lost or counted twice."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from selfhood.console import warn
from selfhood.errors import SelfhoodError
from selfhood.training.budget import Budget
from selfhood.training.snapshot import RandomState, random_state

Result = TypeVar("Result")

# torch's words for an allocation that failed, where it has no exception of its own for it.
SIGNS = ("can't allocate memory", "DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")


class Thrift:
    """The budget of a run. It starts as planned and shrinks where that was too much."""

    def __init__(
        self, budget: Budget, weights: Sequence[torch.nn.Parameter], device: torch.device
    ) -> None:
        self.budget = budget
        self._weights = weights
        self._device = device

    def run(self, work: Callable[[Budget], Result]) -> Result:
        """``work`` within a budget that memory allows. Its gradients must be all there are: before
        another attempt they are cleared, and the random generators set back."""
        random = random_state(self._device)
        while True:
            try:
                return work(self.budget)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self.budget.smaller()
                if smaller is None:
                    raise SelfhoodError(
                        f"out of memory, even with {self.budget}",
                        hint="use a smaller --max_length or a smaller model",
                    ) from error
            # Out here the error is gone, and with its frames the tensors of the pass.
            self._clear()
            set_back(random, self._device)
            warn(f"out of memory with {self.budget}; going on with {smaller}")
            self.budget = smaller

    def _clear(self) -> None:
        for weight in self._weights:
            weight.grad = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def set_back(random: RandomState, device: torch.device) -> None:
    torch.set_rng_state(random["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(random["cuda"], device)


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)
