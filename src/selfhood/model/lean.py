"""Layers of transformers' models that keep less for the way back, where they are of a known form.

A layer is put in another's place, as peft puts its own: it holds the same weights under the same
names, so that what is saved, loaded or adapted does not change. Which form a layer has is asked of
its own ``forward``, on a few numbers; what computes anything else stays as it is.

Suffixes: T tokens, D width.
"""

from __future__ import annotations

import inspect
import math
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfhood.model.lean_mlp import LeanMlp
from selfhood.model.lean_norm import LeanNorm

MLP_PARTS = {"gate_proj", "up_proj", "down_proj", "act_fn"}


def make_lean(model: nn.Module) -> None:
    """In place."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if "forward" in vars(layer):  # someone has put his own there
                continue
            if is_norm(layer):
                setattr(parent, name, LeanNorm(layer).train(layer.training))
            elif is_gated_mlp(layer):
                setattr(parent, name, LeanMlp(layer).train(layer.training))


def is_norm(layer: nn.Module) -> bool:
    weights = dict(layer.named_parameters()).keys()
    return weights == {"weight"} and hasattr(layer, "variance_epsilon") and _is_norm(type(layer))


def is_gated_mlp(layer: nn.Module) -> bool:
    parts = dict(layer.named_children())
    return parts.keys() == MLP_PARTS and _is_silu(parts["act_fn"]) and _is_gated(type(layer))


def _is_silu(layer: nn.Module) -> bool:
    from transformers.activations import SiLUActivation

    return isinstance(layer, (nn.SiLU, SiLUActivation))


def _is_norm(kind: Any) -> bool:
    """In bfloat16, where it shows what is rounded when."""
    x_TD, weight_D = _numbers(5, 8).bfloat16(), _numbers(8).bfloat16()
    norm = SimpleNamespace(weight=weight_D, variance_epsilon=0.1)
    return _computes(kind, norm, x_TD, LeanNorm(norm)(x_TD))


def _is_gated(kind: Any) -> bool:
    """With numbers so large that a limit would show."""
    x_TD = _numbers(5, 8)
    mlp = SimpleNamespace(
        gate_proj=lambda x: 50 * x,
        up_proj=lambda x: 70 * x.flip(-1),
        down_proj=lambda x: x.cumsum(-1),
        act_fn=functional.silu,
    )
    product_TD = functional.silu(mlp.gate_proj(x_TD)) * mlp.up_proj(x_TD)
    return _computes(kind, mlp, x_TD, mlp.down_proj(product_TD))


def _computes(kind: Any, stand_in: object, x_TD: Tensor, expected_TD: Tensor) -> bool:
    """Whether ``forward`` of that class takes this one input and nothing else of ``self``."""
    if len(inspect.signature(kind.forward).parameters) != 2:
        return False
    try:
        found = kind.forward(stand_in, x_TD)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return isinstance(found, Tensor) and torch.equal(found, expected_TD)


def _numbers(*shape: int) -> Tensor:
    """Of both signs, none like another; not drawn, since a run's random numbers are its own."""
    return torch.arange(1, math.prod(shape) + 1, device="cpu").sin().view(shape)
