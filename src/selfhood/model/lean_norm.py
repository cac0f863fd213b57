"""RMSNorm that keeps what it was given, in the dtype it was given in.

Of transformers' RMSNorm autograd keeps a float32 copy of the input. Here the input itself and one
number a token stay, and the copy is made again on the way back. The numbers are the same.

Suffixes: T tokens (of any shape), D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from selfhood.model.autograd import Step


class LeanNorm(nn.Module):
    """In the place of ``norm``, with its weight."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight: nn.Parameter = norm.weight
        self.variance_epsilon: float = norm.variance_epsilon

    def forward(self, hidden_states: Tensor) -> Tensor:
        out: Tensor = _Normed.of(hidden_states, self.weight, self.variance_epsilon)
        return out

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, eps={self.variance_epsilon}"


class _Normed(Step):
    """``weight * x / rms(x)``: the quotient in float32, the product in the dtype of ``x``."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
        float_TD = x_TD.float()
        inverse_T1 = torch.rsqrt(float_TD.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x_TD, inverse_T1, weight_D)
        return weight_D * (float_TD * inverse_T1).to(x_TD.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TD,) = grads
        x_TD, inverse_T1, weight_D = ctx.saved_tensors
        normed_TD = x_TD.float() * inverse_T1
        grad_weight_D = None
        if ctx.needs_input_grad[1]:
            grad_weight_D = (grad_TD * normed_TD.to(x_TD.dtype)).flatten(0, -2).sum(0)
        grad_normed_TD = (grad_TD * weight_D).float()
        along_T1 = (grad_normed_TD * normed_TD).mean(-1, keepdim=True)
        grad_x_TD = (grad_normed_TD - normed_TD.mul_(along_T1)).mul_(inverse_T1)
        return grad_x_TD.to(x_TD.dtype), grad_weight_D, None
