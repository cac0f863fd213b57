"""The gated MLP of most models, ``down(silu(gate(x)) * up(x))``, with half of its memory.

Of transformers' form autograd keeps four wide tensors: the gate, its silu, up, and the product of
the two. Two of them make the others again on the way back, for a few passes over memory and no
matrix product. The numbers are the same.

Suffixes: T tokens (of any shape), I the inner width, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfhood.model.autograd import Step
from selfhood.model.lean_lora import LeanLinear, input_gradient, low_gradients, updated


class LeanMlp(nn.Module):
    """In the place of ``mlp``, with its layers, which keep their names."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj: nn.Module = mlp.gate_proj
        self.up_proj: nn.Module = mlp.up_proj
        self.down_proj: nn.Module = mlp.down_proj

    def forward(self, x: Tensor) -> Tensor:
        gate_TI, up_TI = self.gate_proj(x), self.up_proj(x)
        down = self.down_proj
        update = down.plain_update() if isinstance(down, LeanLinear) else None
        if update is None or not torch.is_grad_enabled():
            product_TI = _Gated.of(gate_TI, up_TI)
            out: Tensor = down(product_TI)
        else:
            out = _GatedUpdated.of(gate_TI, up_TI, *update)
        return out


class _Gated(Step):
    """``silu(gate) * up``"""

    @staticmethod
    def forward(ctx: Any, gate_TI: Tensor, up_TI: Tensor) -> Tensor:
        ctx.save_for_backward(gate_TI, up_TI)
        return functional.silu(gate_TI).mul_(up_TI)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate_TI, up_TI = ctx.saved_tensors
        return _gate_gradients(grads[0].clone(), gate_TI, up_TI, functional.silu(gate_TI))


class _GatedUpdated(Step):
    """``down(silu(gate) * up)`` of a ``LeanLinear``; the product, for A, is made again too."""

    @staticmethod
    def forward(
        ctx: Any,
        gate: Tensor,
        up: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scaling: float,
    ) -> Tensor:
        gate_TI, up_TI = gate.flatten(0, -2), up.flatten(0, -2)
        a_RI, b_OR = a_RI.to(gate.dtype), (b_OR * scaling).to(gate.dtype)
        product_TI = functional.silu(gate_TI).mul_(up_TI)
        out_TO, low_TR = updated(product_TI, weight_OI, bias_O, a_RI, b_OR)
        ctx.save_for_backward(gate_TI, up_TI, low_TR, weight_OI, a_RI, b_OR)
        ctx.scaling = scaling
        return out_TO.view(*gate.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        grad_TO = grad.flatten(0, -2)
        gate_TI, up_TI, low_TR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        silu_TI = functional.silu(gate_TI)
        product_TI = silu_TI * up_TI if ctx.needs_input_grad[4] else None
        low = low_gradients(grad_TO, product_TI, low_TR, b_OR, ctx.scaling)
        del product_TI
        grad_low_TR, grad_a_RI, grad_b_OR = low
        grad_product_TI = input_gradient(grad_TO, grad_low_TR, weight_OI, a_RI)
        inner = _gate_gradients(grad_product_TI, gate_TI, up_TI, silu_TI)
        grad_gate, grad_up = (each.view(*grad.shape[:-1], -1) for each in inner)
        return grad_gate, grad_up, None, None, grad_a_RI, grad_b_OR, None


def _gate_gradients(
    grad_TI: Tensor, gate_TI: Tensor, up_TI: Tensor, silu_TI: Tensor
) -> tuple[Tensor, Tensor]:
    """From the gradient of the product to those of gate and up; uses up it and the silu."""
    grad_up_TI = silu_TI.mul_(grad_TI)
    grad_silu_TI = grad_TI.mul_(up_TI)
    return torch.ops.aten.silu_backward(grad_silu_TI, gate_TI), grad_up_TI
