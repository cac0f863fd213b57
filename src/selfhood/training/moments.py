"""What an optimizer and a random generator remember, as safetensors.

Kept by the weights' names, not by their numbers: a resumed run need not list them in one order.

    exp_avg/<weight>      AdamW's first moment       random/cpu    torch's generator, as bytes
    exp_avg_sq/<weight>   AdamW's second moment      random/cuda   the GPU's
    step/<weight>         updates it has seen
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

RANDOM = "random"

RandomState = dict[str, Tensor]
Named = Iterable[tuple[str, torch.nn.Parameter]]


def random_state(device: torch.device) -> RandomState:
    """Dropout and noise draw from these."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def save_moments(
    file: Path, optimizer: torch.optim.Optimizer, weights: Named, random: RandomState
) -> None:
    tensors = {f"{RANDOM}/{kind}": value for kind, value in random.items()}
    for name, weight in weights:
        for key, value in optimizer.state[weight].items():
            tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
    save_file(tensors, file)


def load_moments(file: Path, optimizer: torch.optim.Optimizer, weights: Named) -> RandomState:
    """Give the optimizer its moments back; returns the state of the random generators."""
    tensors = load_file(file)
    by_name = dict(weights)
    random: RandomState = {}
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        if kind == RANDOM:
            random[name] = value
            continue
        weight = by_name[name]
        # AdamW keeps its count of updates on the CPU, whatever device the weight is on.
        device = value.device if kind == "step" else weight.device
        optimizer.state[weight][kind] = value.to(device)
    return random
