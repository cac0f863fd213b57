"""Which way down a recipe takes."""

from __future__ import annotations

from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.training.descent import Descent
from selfhood.training.optimizer import NO_FRAMES, Frames
from selfhood.training.world import World


def open_descent(
    loaded: Loaded, recipe: Recipe, world: World, frames: Frames = NO_FRAMES
) -> Descent:
    """The optimizer of a model, and who holds what of both. ``frames`` go with an anchor, which
    the plan refuses where weights are in parts."""
    if not recipe.train.has_parts:
        return Descent(loaded, recipe, world, frames)
    if recipe.train.fsdp:
        from selfhood.training.sharding import ShardedDescent

        return ShardedDescent(loaded, recipe, world)
    from selfhood.training.zero import ZeroDescent

    return ZeroDescent(loaded, recipe, world)
