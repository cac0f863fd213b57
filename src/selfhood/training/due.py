"""After which updates a run saves and validates."""

from __future__ import annotations

from selfhood.data.mix import Order
from selfhood.recipe import Moments, TrainOptions


def saving_is_due(options: TrainOptions, update: int, order: Order) -> bool:
    """The last update is always saved."""
    if update == order.num_updates:
        return True
    return _is_due(options.save_strategy, options.save_steps, update, order)


def validating_is_due(options: TrainOptions, update: int, order: Order) -> bool:
    """As saving is, unless told otherwise; and at the end, unless told never."""
    strategy = options.eval_strategy or options.save_strategy
    if update == order.num_updates:
        return strategy != "no"
    return _is_due(strategy, options.eval_steps or options.save_steps, update, order)


def _is_due(strategy: Moments, every: int, update: int, order: Order) -> bool:
    if strategy == "epoch":
        return update % order.updates_per_epoch == 0
    return strategy == "steps" and update % every == 0
