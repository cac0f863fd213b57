"""The learning rate of each update."""

from __future__ import annotations

import math

from selfhood.recipe import TrainOptions


def learning_rate(options: TrainOptions, update: int, num_updates: int) -> float:
    """The rate of update number ``update`` (from 0), of ``num_updates``.

    Warm-up climbs to the peak without an update at rate zero: of the handful of updates that an
    identity needs, none is wasted.
    """
    warmup = options.warmup_steps or math.ceil(options.warmup_ratio * num_updates)
    if update < warmup:
        return options.peak_learning_rate * (update + 1) / (warmup + 1)
    progress = (update - warmup) / max(1, num_updates - warmup)
    shapes = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }
    return options.peak_learning_rate * shapes[options.lr_scheduler_type]
