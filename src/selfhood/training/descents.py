"""Which way down a recipe takes."""

from __future__ import annotations

from selfhood.model.load import Loaded
from selfhood.recipe import Recipe
from selfhood.training.descent import Descent
from selfhood.training.world import World


def open_descent(loaded: Loaded, recipe: Recipe, world: World) -> Descent:
    """The optimizer of a model, and who holds what of both."""
    if not recipe.train.has_parts:
        return Descent(loaded, recipe, world)
    if recipe.train.fsdp:
        from selfhood.training.sharding import ShardedDescent

        return ShardedDescent(loaded, recipe, world)
    from selfhood.training.zero import ZeroDescent

    return ZeroDescent(loaded, recipe, world)
