"""The mean of a run's later weights, as which the run ends.

    weights   ╱╲╱╲╱╲╱╲╱╲     each update overshoots a little, now here and now there
    mean          ──────     of the weights after update ``--average_from`` and every later one

Stochastic weight averaging (Izmailov et al., 2018, arXiv 1803.05407). Where A is frozen the mean of
B is exactly the mean of the models. It is kept among what the optimizer remembers of a weight, and
so it is saved, and given back to a resumed run, with AdamW's moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

MEAN = "mean"


@torch.no_grad()
def remember(
    optimizer: torch.optim.Optimizer, weights: Sequence[torch.nn.Parameter], *, num: int
) -> None:
    """Take the weights as they are into their mean, as the ``num``-th (from 1) of it."""
    for weight in weights:
        state = optimizer.state[weight]
        if state:  # else it has never moved
            state.setdefault(MEAN, weight.detach().clone()).lerp_(weight, 1 / num)


@torch.no_grad()
def use_mean(optimizer: torch.optim.Optimizer, weights: Sequence[torch.nn.Parameter]) -> None:
    for weight in weights:
        if MEAN in optimizer.state[weight]:
            weight.copy_(optimizer.state[weight][MEAN])
