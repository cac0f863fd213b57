"""What a run knows after an update, in whole tensors: every process takes it, one writes it.

Kept by the weights' names, not by their numbers: a resumed run need not list them in one order.

    exp_avg/<weight>      AdamW's first moment
    exp_avg_sq/<weight>   AdamW's second moment
    step/<weight>         updates it has seen
    random/<rank>/cpu     torch's generator in a process, as bytes; /cuda: the GPU's
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from selfhood.training.descent import Descent

Tensors = Mapping[str, Tensor]
RandomState = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """``weights`` by the model's names, ``memory`` as above."""

    weights: dict[str, Tensor]
    memory: dict[str, Tensor]


def take_snapshot(descent: Descent, random: RandomState) -> Snapshot:
    """All processes must take it, after the same update."""
    memory = descent.moments()
    for kind, state in random.items():
        for rank, theirs in enumerate(descent.world.collect(state)):
            memory[f"random/{rank}/{kind}"] = theirs
    return Snapshot(weights=descent.whole_weights(), memory=memory)


def random_state(device: torch.device) -> RandomState:
    """Dropout and noise draw from these."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(memory: Tensors, device: torch.device, rank: int) -> None:
    """Nothing changes where there was no such process or no GPU."""
    if f"random/{rank}/cpu" in memory:
        torch.set_rng_state(memory[f"random/{rank}/cpu"])
    if device.type == "cuda" and f"random/{rank}/cuda" in memory:
        torch.cuda.set_rng_state(memory[f"random/{rank}/cuda"], device)
