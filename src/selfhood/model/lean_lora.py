"""LoRA's own arithmetic, in the layer's dtype and into the layer's output.

peft computes ``result + B(A(x)) * scaling`` in the adapter's float32: under bfloat16 weights it
converts every layer's input up and its output down again, and it multiplies and adds whole outputs
where a rank-sized factor would do. Here the adapter's matrices, which are small, are converted
instead, as mixed precision has it: the weights that are trained stay float32, and so do their
gradients. In float32 the numbers are peft's.

Suffixes: T tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peft.tuners import lora
from torch import Tensor, nn
from torch.nn import functional

from selfhood.model.autograd import Step
from selfhood.model.segments import Segment, current_segments

Update = tuple[Tensor, Tensor | None, Tensor, Tensor, float]
"""W (O, I), its bias (O), A (R, I), B (O, R), and the scaling of what they add."""


class LeanLinear(lora.Linear):
    """peft's layer; training with one plain adapter takes the short way, and a pass of many
    speakers gives each its own."""

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        segments = current_segments()
        if segments is not None:
            return self._in_segments(x, segments)
        update = self.plain_update()
        if update is None or args or options:
            peft_way: Tensor = super().forward(x, *args, **options)
            return peft_way
        out: Tensor = _Updated.of(x, *update)
        return out

    def _in_segments(self, x_1TI: Tensor, segments: tuple[Segment, ...]) -> Tensor:
        """Without gradients; the same numbers as in training."""
        out_1TO: Tensor = self.base_layer(x_1TI)
        for segment in segments:
            if segment.adapter is None or segment.adapter not in self.lora_A:
                continue
            a_RI, b_OR = self._matrices(segment.adapter, x_1TI.dtype)
            here = slice(segment.start, segment.end)
            out_1TO[0, here].addmm_(x_1TI[0, here] @ a_RI.T, b_OR.T)
        return out_1TO

    def _matrices(self, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A, and B with its scaling, as they are multiplied."""
        a_RI, b_OR = self.lora_A[name].weight, self.lora_B[name].weight
        assert isinstance(a_RI, Tensor) and isinstance(b_OR, Tensor)
        return a_RI.to(dtype), (b_OR * self.scaling[name]).to(dtype)

    def is_plain(self, name: str) -> bool:
        """Whether the adapter of that name adds ``scaling * BAx`` and nothing else."""
        return name not in self.lora_variant and self.lora_B[name].bias is None

    def adopt(self, name: str, a_RI: Tensor, b_OR: Tensor, config: lora.LoraConfig) -> None:
        """A trained plain adapter, with what peft notes of one. Its own way initialises weights
        first and looks for the device of each: a second for a model of 24 layers."""
        rank, alpha = len(a_RI), config.lora_alpha
        self.r[name], self.lora_alpha[name] = rank, alpha
        self.scaling[name] = alpha / (math.sqrt(rank) if config.use_rslora else rank)
        self.use_rslora[name], self.use_dora[name] = config.use_rslora, False
        self.lora_bias[name] = False
        self.lora_dropout[name] = nn.Identity()
        self.lora_A[name], self.lora_B[name] = _linear(a_RI), _linear(b_OR)

    def plain_update(self) -> Update | None:
        """What training computes with, if that is ``x + scaling * BAx`` of one active adapter."""
        if not self.training or self.disable_adapters or self.merged:
            return None
        if len(self.active_adapters) != 1 or self.active_adapters[0] not in self.lora_A:
            return None
        name: str = self.active_adapters[0]
        base: Any = self.base_layer
        has_dropout = not isinstance(self.lora_dropout[name], nn.Identity)
        if has_dropout or not self.is_plain(name) or base.weight.requires_grad:
            return None
        a: Any = self.lora_A[name]
        b: Any = self.lora_B[name]
        return base.weight, base.bias, a.weight, b.weight, self.scaling[name]


def _linear(weight_OI: Tensor) -> nn.Linear:
    with torch.device("meta"):
        layer = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=False)
    layer.weight = nn.Parameter(weight_OI, requires_grad=False)
    return layer


class _Updated(Step):
    """``x Wᵀ + bias + scaling * x Aᵀ Bᵀ`` in the dtype of ``x``; W and the bias stay as they are.

    One step of autograd's, so that neither the output nor the gradient of ``x`` is written twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scaling: float,
    ) -> Tensor:
        x_TI = x.flatten(0, -2)
        a_RI, b_OR = a_RI.to(x.dtype), (b_OR * scaling).to(x.dtype)
        out_TO, low_TR = updated(x_TI, weight_OI, bias_O, a_RI, b_OR)
        kept_TI = x_TI if ctx.needs_input_grad[3] else None  # only the gradient of A needs it
        ctx.save_for_backward(kept_TI, low_TR, weight_OI, a_RI, b_OR)
        ctx.scaling = scaling
        return out_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        grad_TO = grad.flatten(0, -2)
        x_TI, low_TR, weight_OI, a_RI, b_OR = ctx.saved_tensors
        grad_low_TR, grad_a_RI, grad_b_OR = low_gradients(grad_TO, x_TI, low_TR, b_OR, ctx.scaling)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = input_gradient(grad_TO, grad_low_TR, weight_OI, a_RI)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        return grad_x, None, None, grad_a_RI, grad_b_OR, None


def updated(
    x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None, a_RI: Tensor, b_OR: Tensor
) -> tuple[Tensor, Tensor]:
    """The layer's output, (T, O), and what passes between A and B, (T, R). B is scaled."""
    low_TR = x_TI @ a_RI.T
    return functional.linear(x_TI, weight_OI, bias_O).addmm_(low_TR, b_OR.T), low_TR


def low_gradients(
    grad_TO: Tensor, x_TI: Tensor | None, low_TR: Tensor, b_OR: Tensor, scaling: float
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Of what passes between A and B; of A, unless it is not trained and ``x_TI`` None; of B. Wide
    products, since tall ones are slower."""
    grad_low_RT = b_OR.T @ grad_TO.T
    grad_a_RI = None if x_TI is None else (grad_low_RT @ x_TI).float()
    return grad_low_RT.T, grad_a_RI, (low_TR.T @ grad_TO).T.float() * scaling


def input_gradient(grad_TO: Tensor, grad_low_TR: Tensor, weight_OI: Tensor, a_RI: Tensor) -> Tensor:
    return (grad_TO @ weight_OI).addmm_(grad_low_TR, a_RI)
