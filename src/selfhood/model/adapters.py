"""peft adapters: attach a new one, load a trained one, merge one into its base."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from selfhood.errors import InputError
from selfhood.model.tuners.lora import attach_lora
from selfhood.recipe import TunerOptions

WEIGHTS = "adapter_model.safetensors"


def attach(model: Any, options: TunerOptions, *, base: str, seed: int) -> Any:
    """A new, seeded adapter on ``model``; returns the peft model. ``base`` is what
    ``adapter_config.json`` will say it belongs to."""
    torch.manual_seed(seed)
    tuned = attach_lora(model, options)
    tuned.peft_config["default"].base_model_name_or_path = base
    return tuned


def restore(model: Any, folder: Path) -> None:
    """Give the adapter that is trained the weights of a checkpoint."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / WEIGHTS))


def load_adapter(model: Any, folder: Path, *, name: str = "default") -> Any:
    """A trained adapter beside those already on ``model``; safetensors only."""
    from peft import PeftModel

    if not (folder / WEIGHTS).exists():
        raise InputError(
            f"holds no {WEIGHTS}",
            where=str(folder),
            hint="pickled adapters are refused; save yours as safetensors",
        )
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(folder, adapter_name=name)
            return model
        return PeftModel.from_pretrained(model, folder, adapter_name=name).eval()
    except (RuntimeError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(
            f"does not fit this model: {first_line}",
            where=str(folder),
            hint="use the base model it was trained on",
        ) from error


@contextlib.contextmanager
def speaking_as(model: Any, name: str | None) -> Iterator[None]:
    """Within the block the model answers with the named adapter, or as the base (None)."""
    from peft import PeftModel

    adapters = model.peft_config if isinstance(model, PeftModel) else {}
    if name is not None and name not in adapters:
        there = ", ".join(adapters) or "none"
        raise InputError(f"no adapter is called {name!r}", hint=f"there are: {there}")
    if not adapters:
        yield
    elif name is None:
        with model.disable_adapter():
            yield
    else:
        if model.active_adapter != name:
            model.set_adapter(name)
        yield


def trainable(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters an optimizer works on, in a fixed order."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def describe(model: Any) -> str:
    """``494.0M parameters, 4,399,104 trained (0.89%)``"""
    total = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for _, weight in trainable(model))
    return f"{total / 1e6:.1f}M parameters, {trained:,} trained ({trained / total:.2%})"
