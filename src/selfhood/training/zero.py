"""DeepSpeed's ZeRO: what each process would hold alike is held in parts.

DeepSpeed owns the backward pass and the step; what is trained, at what rate, and what a checkpoint
looks like stays ours. It averages gradients over processes, so each computes ``size`` times its
own.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from selfhood.errors import FlagError
from selfhood.model.adapters import trainable
from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.training.descent import Descent
from selfhood.training.forward import WholeForward
from selfhood.training.loss import ChunkedLoss
from selfhood.training.world import World
from selfhood.training.zero_config import zero_config


class EngineLoss(ChunkedLoss):
    """The backward pass is the engine's; it takes one number."""

    def __init__(self, engine: Any, dtype: torch.dtype, size: int) -> None:
        super().__init__(WholeForward(engine, dtype=dtype))
        self._engine = engine
        self._size = size

    def _pass_on(self, hidden_ND: Tensor, grad_ND: Tensor) -> None:
        """The number whose gradient at ``hidden_ND`` is ``size * grad_ND``."""
        self._engine.backward((hidden_ND * grad_ND).sum() * self._size)


class ZeroDescent(Descent):
    """Whatever the model's weights are held in, those that are trained step in float32."""

    is_in_step = True
    kind_of_forward = WholeForward

    def __init__(self, loaded: Loaded, recipe: Recipe, world: World) -> None:
        super().__init__(loaded, recipe, world)
        model, dtype = loaded.model, loaded.dtype
        config = zero_config(recipe.train) | {"bf16": {"enabled": dtype == torch.bfloat16}}
        if dtype == torch.float16:
            raise FlagError(
                "float16 is not for --deepspeed", where="--torch_dtype", hint="bfloat16"
            )
        with _hushed():
            import deepspeed

            if config["zero_optimization"]["stage"] == 3:
                deepspeed.zero.Init(module=model, config_dict_or_path=config)
            self.engine, self.optimizer, *_ = deepspeed.initialize(
                model=model, optimizer=self.optimizer, config=config
            )
        self.loss = EngineLoss(self.engine, dtype, world.size)

    def sum_gradients(self) -> None:
        """The engine does, in its step."""

    def step(self) -> float:
        """The engine's: the norm is known afterwards."""
        self.engine.step()
        return float(self.engine.get_global_grad_norm())

    def drop_gradients(self) -> None:
        self.engine.zero_grad()

    def whole_weights(self) -> dict[str, Tensor]:
        """Of those that are trained, in float32."""
        from deepspeed.utils import safe_get_full_fp32_param

        return {
            name: safe_get_full_fp32_param(weight).detach().cpu()
            for name, weight in trainable(self.model)
        }

    def moments(self) -> dict[str, Tensor]:
        """None: DeepSpeed keeps them in parts, for which a checkpoint has no place yet."""
        return {}


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """DeepSpeed talks on stdout, which is kept for results, and in a log of its own."""
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
