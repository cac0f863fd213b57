"""Full training: the model's own weights move, all of them or those that are not frozen.

What is frozen and what is not is said as in ms-swift: everything trains; then a share of the
weights from the first layer on, names that begin so, and names in which a pattern is found, are
frozen; then names that begin so, or in which a pattern is found, are trained after all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from selfhood.errors import InputError
from selfhood.recipe import TunerOptions


def choose_weights(model: Any, options: TunerOptions) -> Any:
    """The same model; ``requires_grad`` says which of its weights are trained."""
    model.requires_grad_(True)
    for weight in _first_share(model, options.freeze_parameters_ratio):
        weight.requires_grad_(False)
    for weight in _begin_with(model, options.freeze_parameters, flag="--freeze_parameters"):
        weight.requires_grad_(False)
    for weight in _found(model, options.freeze_parameters_regex, flag="--freeze_parameters_regex"):
        weight.requires_grad_(False)
    for weight in _begin_with(model, options.trainable_parameters, flag="--trainable_parameters"):
        weight.requires_grad_(True)
    for weight in _found(
        model, options.trainable_parameters_regex, flag="--trainable_parameters_regex"
    ):
        weight.requires_grad_(True)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise InputError(
            "every weight is frozen; none is left to train", where="--freeze_parameters"
        )
    return model


def _first_share(model: Any, ratio: float) -> Iterator[nn.Parameter]:
    """Whole matrices from the front, as many as stay within the share."""
    room = int(ratio * sum(weight.numel() for weight in model.parameters()))
    for weight in model.parameters():
        room -= weight.numel()
        if room < 0:
            return
        yield weight


def _begin_with(model: Any, starts: tuple[str, ...], *, flag: str) -> list[nn.Parameter]:
    found: list[nn.Parameter] = []
    for start in starts:
        weights = [each for name, each in model.named_parameters() if name.startswith(start)]
        if not weights:
            some = ", ".join(name for name, _ in list(model.named_parameters())[:2])
            raise InputError(
                f"no weight's name begins with {start}",
                where=flag,
                hint=f"names are such as {some}",
            )
        found += weights
    return found


def _found(model: Any, pattern: str | None, *, flag: str) -> list[nn.Parameter]:
    if pattern is None:
        return []
    try:
        found = [each for name, each in model.named_parameters() if re.search(pattern, name)]
    except re.error as error:
        raise InputError(f"is no pattern: {error}", where=flag) from error
    if not found:
        raise InputError(f"{pattern} is found in no weight's name", where=flag)
    return found
