"""From the passes of an update to one step that is the same on all processes.

Descent             every process, or the only one, holds all weights
ShardedDescent      FSDP2: weights, gradients and moments in parts (``sharding``)
ZeroDescent         DeepSpeed: moments, gradients, weights in parts (``zero``)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from selfhood.model.adapters import trainable
from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.training.forward import Forward
from selfhood.training.loss import ChunkedLoss
from selfhood.training.optimizer import NO_FRAMES, Frames, make_optimizer
from selfhood.training.world import World

STEP = "step"


class Descent:
    """``loss`` adds gradients to ``weights``; ``optimizer`` moves them. In an update: any number of
    ``loss.backward``, then ``sum_gradients``, then ``step``."""

    is_in_step = False
    """Whether all processes must make the same number of passes."""
    kind_of_forward: type[Forward] = Forward

    def __init__(
        self, loaded: Loaded, recipe: Recipe, world: World, frames: Frames = NO_FRAMES
    ) -> None:
        self.model = model = loaded.model
        self.world = world
        self.limit = recipe.train.max_grad_norm or math.inf
        self.weights = [weight for _, weight in trainable(model)]
        self.optimizer: torch.optim.Optimizer = make_optimizer(model, recipe, frames)
        forward = self.kind_of_forward(
            model, dtype=loaded.dtype, noise_alpha=recipe.train.neftune_noise_alpha
        )
        self.loss = ChunkedLoss(forward)

    def sum_gradients(self) -> None:
        self.world.sum_gradients(self.weights)

    def step(self) -> float:
        """Clip and step; the gradient's norm. Where that is not finite, no weight moves."""
        norm = float(self.whole(torch.nn.utils.clip_grad_norm_(self.weights, self.limit)))
        if math.isfinite(norm):
            self.optimizer.step()
        self.drop_gradients()
        return norm

    def drop_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def whole_weights(self) -> dict[str, Tensor]:
        """What a checkpoint holds, by name. All processes must ask."""
        weights: dict[str, Tensor] = self.model.state_dict()
        return weights

    def moments(self) -> dict[str, Tensor]:
        """What the optimizer remembers, as ``exp_avg/<weight>``. All processes must ask."""
        return {
            f"{kind}/{name}": self.whole(value.detach()).cpu().contiguous()
            for name, weight in trainable(self.model)
            for kind, value in self.optimizer.state[weight].items()
        }

    def give_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Let the optimizer remember what ``moments`` told; other names are left alone."""
        by_name = dict(trainable(self.model))
        for key, value in moments.items():
            kind, _, name = key.partition("/")
            if name in by_name:
                weight = by_name[name]
                # AdamW keeps its count of updates on the CPU, whatever device the weight is on.
                part = value if kind == STEP else self.part_of(value, weight)
                self.optimizer.state[weight][kind] = part

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor with all its parts. All processes must ask."""
        return tensor

    def part_of(self, value: Tensor, weight: Tensor) -> Tensor:
        """What this process holds of a tensor that is like ``weight``."""
        return value.to(weight.device)
