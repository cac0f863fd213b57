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
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: Any, device: torch.device) -> None:
    """Spread every weight of ``model`` over all processes, in place; parts lie on ``device``."""
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    layers = set(model.get_base_model()._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its parts; every process must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_for(weight: nn.Parameter, value: Tensor) -> Tensor:
    """The part of ``value``, a tensor like ``weight``, that this process holds of ``weight``."""
    value = value.to(weight.device)
    if not isinstance(weight, DTensor):
        return value
    return distribute_tensor(value, weight.device_mesh, weight.placements)
