"""Weights spread over the processes (FSDP2): each holds a part of every matrix.

A layer's parts are gathered when its turn comes and let go after it, forwards and backwards; its
gradient is averaged into the parts. What no layer holds (embeddings, last norm, head) is gathered
once a pass, by a call of the model as a whole.

    process 0   ▙ ▙ ▙      layer 1 ── gather ── ██ ── compute ── let go ── layer 2 ── ...
    process 1   ▜ ▜ ▜
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from selfhood.model.adapters import trainable
from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.training.descent import Descent
from selfhood.training.forward import WholeForward
from selfhood.training.world import World


class ShardedDescent(Descent):
    """Of a model whose weights are put in parts here, on its device."""

    is_in_step = True
    kind_of_forward = WholeForward

    def __init__(self, loaded: Loaded, recipe: Recipe, world: World) -> None:
        shard(loaded.model, world, loaded.device)
        super().__init__(loaded, recipe, world)

    def sum_gradients(self) -> None:
        """The backward passes averaged them."""
        for weight in self.weights:
            if weight.grad is not None:
                weight.grad.mul_(self.world.size)

    def whole_weights(self) -> dict[str, Tensor]:
        """Of those that are trained; all of them would not fit."""
        return {name: self.whole(weight.detach()).cpu() for name, weight in trainable(self.model)}

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def part_of(self, value: Tensor, weight: Tensor) -> Tensor:
        assert isinstance(weight, DTensor)
        return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)


def shard(model: Any, world: World, device: torch.device) -> None:
    """Spread every weight over all processes, in place; parts lie on ``device``."""
    mesh = init_device_mesh(device.type, (world.size,))
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = set(base._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
