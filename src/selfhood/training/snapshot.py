"""What a run knows after an update, in whole tensors: every process takes it, one writes it.

Kept by the weights' names, not by their numbers: a resumed run need not list them in one order.

    exp_avg/<weight>      AdamW's first moment
    exp_avg_sq/<weight>   AdamW's second moment
    step/<weight>         updates it has seen
    random/<rank>/cpu     torch's generator in a process, as bytes; /cuda: the GPU's
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from selfhood.model.adapters import trainable
from selfhood.training.sharding import part_for, whole
from selfhood.training.world import World

STEP = "step"

Tensors = Mapping[str, Tensor]
RandomState = dict[str, Tensor]
Named = Iterable[tuple[str, torch.nn.Parameter]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """``weights`` by the model's names, ``memory`` as above."""

    weights: dict[str, Tensor]
    memory: dict[str, Tensor]


def take_snapshot(model: Any, optimizer: Optimizer, random: RandomState, world: World) -> Snapshot:
    """All processes must take it, after the same update."""
    weights = {name: whole(tensor) for name, tensor in model.state_dict().items()}
    memory = moments_of(optimizer, trainable(model))
    for kind, state in random.items():
        for rank, theirs in enumerate(world.collect(state)):
            memory[f"random/{rank}/{kind}"] = theirs
    return Snapshot(weights=weights, memory=memory)


def moments_of(optimizer: Optimizer, weights: Named) -> dict[str, Tensor]:
    return {
        f"{kind}/{name}": whole(value.detach()).cpu().contiguous()
        for name, weight in weights
        for kind, value in optimizer.state[weight].items()
    }


def give_moments(optimizer: Optimizer, weights: Named, memory: Tensors) -> None:
    """Let an optimizer know what ``moments_of`` read."""
    by_name = dict(weights)
    for key, value in memory.items():
        kind, _, name = key.partition("/")
        if name in by_name:
            weight = by_name[name]
            # AdamW keeps its count of updates on the CPU, whatever device the weight is on.
            optimizer.state[weight][kind] = value if kind == STEP else part_for(weight, value)


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
