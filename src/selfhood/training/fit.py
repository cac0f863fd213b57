"""Token budget, recomputation and dtype that fit the memory there is.

rows fit as they are     no recomputation
long rows do not         they are recomputed, and only they
short passes do not      smaller ones, at last recomputed too
nothing does             an error that says what would
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selfhood.errors import FlagError, InputError
from selfhood.model.footprint import Footprint, footprint_of
from selfhood.model.load import best_dtype
from selfhood.model.recompute import can_recompute
from selfhood.recipe import Recipe
from selfhood.training.budget import FEWEST_TOKENS, Budget, cheapest
from selfhood.training.contrastive import frame_bytes
from selfhood.training.memory import GB, Forecast, forecast, free_memory

# Tokens a pass. In float32 matrix products on a CPU are as fast with 256 rows as with more; in
# bfloat16 they want 512.
WORTHWHILE = {"cpu": (256, 512, 1024, 2048), "cuda": (2048, 4096, 8192)}
WORTHWHILE_BFLOAT16 = (512, 1024, 2048)
SPARE = 0.95  # of the free memory; the rest is for what others take meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a run is held in memory; no forecast where the model cannot be counted beforehand."""

    dtype: torch.dtype
    budget: Budget
    forecast: Forecast | None
    free: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the rows ask for: ``passes`` are the tokens of each pass of an update under a token
    budget, ``update`` those of the largest one."""

    longest: int
    update: int
    passes: Callable[[int], Sequence[int]]


def fit(recipe: Recipe, config: Any, demand: Demand, device: torch.device) -> Fit:
    """Raises InputError where nothing fits."""
    free = free_memory(device)
    asked = _asked(recipe, config)
    for dtype in _dtypes(recipe, device):
        choices = _choices(recipe, demand, device, dtype)
        footprint = footprint_of(config, recipe, dtype=dtype)
        if footprint is None:
            usual = Budget(
                tokens=choices[0],
                recompute_above=0 if asked else None,
                can_recompute=asked is None,
            )
            return Fit(dtype=dtype, budget=usual, forecast=None, free=free)
        frames = frame_bytes(footprint.read, dtype) if recipe.tuner.is_aimed else 0
        room = Room(footprint=footprint, device=device, free=free, frames=frames)
        for budget in room.budgets(choices, asked):
            peak = room.peak(budget, demand)
            if peak.total <= room.usable:
                return Fit(dtype=dtype, budget=budget, forecast=peak, free=free)
    raise room.refusal(demand)


def _asked(recipe: Recipe, config: Any) -> bool | None:
    """The user's wish for recomputation; None leaves the choice, False also where there is none."""
    asked = recipe.train.gradient_checkpointing
    if can_recompute(config, recipe.tuner):
        return asked
    if asked:
        raise FlagError(
            "cannot be done with this model or tuner", where="--gradient_checkpointing true"
        )
    return False


def _choices(
    recipe: Recipe, demand: Demand, device: torch.device, dtype: torch.dtype
) -> Sequence[int]:
    """Token budgets, the best first."""
    if recipe.train.token_budget is not None:
        return (recipe.train.token_budget,)
    best = cheapest(worthwhile(device, dtype), demand.passes)
    return tuple(_halved(best))


def worthwhile(device: torch.device, dtype: torch.dtype) -> tuple[int, ...]:
    """Tokens of a pass for which the device's products are about as fast as they become."""
    if device.type == "cpu" and dtype == torch.bfloat16:
        return WORTHWHILE_BFLOAT16
    return WORTHWHILE[device.type]


def _halved(tokens: int) -> Iterator[int]:
    while tokens >= FEWEST_TOKENS:
        yield tokens
        tokens //= 2


def _dtypes(recipe: Recipe, device: torch.device) -> Iterator[torch.dtype]:
    """bfloat16 where float32 is only a matter of speed and does not fit."""
    wanted = best_dtype(device, recipe.model.torch_dtype)
    yield wanted
    if wanted == torch.float32 and recipe.model.torch_dtype != "float32":
        yield torch.bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A model, and the memory it has to fit in."""

    footprint: Footprint
    device: torch.device
    free: float
    frames: float = 0
    """Bytes of the optimizer's frames."""

    @property
    def usable(self) -> float:
        return SPARE * self.free

    def budgets(self, choices: Sequence[int], asked: bool | None) -> Iterator[Budget]:
        """From the fastest to the most thrifty."""
        if asked is not True:
            for tokens in choices:
                yield Budget(tokens=tokens, can_recompute=asked is None)
                if asked is None:
                    above = max(tokens, self.most(recomputes=False))
                    yield Budget(tokens=tokens, recompute_above=above)
        if asked is not False:
            for tokens in choices:
                yield Budget(tokens=tokens, recompute_above=0)

    def peak(self, budget: Budget, demand: Demand) -> Forecast:
        """Of the pass that takes most, be it of many rows or of the longest one."""
        sizes = (min(budget.tokens, demand.update), demand.longest)
        peaks = [self.need(size, recomputes=budget.recomputes(size)) for size in sizes]
        return max(peaks, key=lambda peak: peak.total)

    def need(self, tokens: int, *, recomputes: bool) -> Forecast:
        return forecast(
            self.footprint, tokens, recomputes=recomputes, device=self.device, frames=self.frames
        )

    def most(self, *, recomputes: bool) -> int:
        """Tokens of the largest pass that fits."""
        return bisect_right(
            range(1, 2**20),
            self.usable,
            key=lambda tokens: self.need(tokens, recomputes=recomputes).total,
        )

    def refusal(self, demand: Demand) -> InputError:
        needed = self.need(demand.longest, recomputes=True)
        most = self.most(recomputes=True)
        ways = ["a smaller model"]
        if self.device.type == "cuda":
            ways.insert(0, "--quant_bits 4")
        if most >= FEWEST_TOKENS:
            ways.insert(0, f"--max_length {most}")
        return InputError(
            f"does not fit: {needed}, and {self.free / GB:.1f} GB are free",
            where="memory",
            hint="use " + " or ".join(ways),
        )
