"""AdamW, at what pace each weight learns, and in which coordinates.

Every group of weights has a ``pace``: its learning rate is the schedule's times that.

Suffixes: R rank, I inputs, S columns of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from selfhood.model.adapters import trainable
from selfhood.recipe import Recipe

Group = dict[str, Any]  # as torch's optimizers take them
Frames = Mapping[str, Tensor]  # a weight's name -> F_IS, the coordinates in which it moves
NO_FRAMES: Frames = {}


def make_optimizer(model: Any, recipe: Recipe, frames: Frames = NO_FRAMES) -> torch.optim.AdamW:
    """Over every weight of ``model`` that is trained."""
    train = recipe.train
    return FramedAdamW(
        parameter_groups(model, recipe.tuner.lorap_lr_ratio),
        {weight: frames[name] for name, weight in trainable(model) if name in frames},
        lr=train.peak_learning_rate,
        betas=(train.adam_beta1, train.adam_beta2),
        eps=train.adam_epsilon,
        weight_decay=train.weight_decay,
        fused=True,  # one kernel, not a dozen small operations for each of hundreds of matrices
    )


class FramedAdamW(torch.optim.AdamW):
    """AdamW that takes the steps of some matrices, (R, I), in frames of theirs, (I, S):

        G_RS = G_RI F       W_RI <- W_RI - rate * adam(G_RS) F'

    The moments of such a matrix are (R, S).
    """

    def __init__(
        self, groups: list[Group], frames: Mapping[torch.nn.Parameter, Tensor], **options: Any
    ) -> None:
        super().__init__(groups, **options)
        self.frames = frames

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Those without a frame by torch's kernel, which leaves alone what has no gradient."""
        framed = list(self._set_aside())
        result = super().step(closure)
        for group, weight, grad_RI in framed:
            self._step_in_frame(group, weight, grad_RI @ self.frames[weight].to(grad_RI))
        return result

    def _set_aside(self) -> Iterator[tuple[Group, torch.nn.Parameter, Tensor]]:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight in self.frames and weight.grad is not None:
                    yield group, weight, weight.grad
                    weight.grad = None

    def _step_in_frame(self, group: Group, weight: torch.nn.Parameter, grad_RS: Tensor) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(grad_RS)
            state["exp_avg_sq"] = torch.zeros_like(grad_RS)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean_RS = state["exp_avg"].lerp_(grad_RS, 1 - beta1)
        square_RS = state["exp_avg_sq"].mul_(beta2).addcmul_(grad_RS, grad_RS, value=1 - beta2)
        count = float(state["step"])
        spread_RS = (square_RS / (1 - beta2**count)).sqrt_().add_(group["eps"])
        step_RS = mean_RS / (1 - beta1**count) / spread_RS
        frame_IS = self.frames[weight].to(weight)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.addmm_(step_RS, frame_IS.T, alpha=-group["lr"])


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The schedule's rate, for each group at its own pace."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["pace"]


def parameter_groups(model: Any, lorap_lr_ratio: float | None) -> list[Group]:
    """One group; with LoRA+ (arXiv 2402.12354) two, of which B matrices and vectors learn
    ``lorap_lr_ratio`` times as fast."""
    named = trainable(model)
    if lorap_lr_ratio is None:
        return [{"params": [weight for _, weight in named], "pace": 1.0}]
    fast = [weight for name, weight in named if "lora_B" in name or weight.ndim == 1]
    rest = [weight for name, weight in named if not ("lora_B" in name or weight.ndim == 1)]
    return [{"params": rest, "pace": 1.0}, {"params": fast, "pace": lorap_lr_ratio}]
