"""What is trained, on the model that carries it: attach, continue, save, load, speak as."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfhood.errors import InputError
from selfhood.model.four_bits import is_quantised
from selfhood.model.lean import make_lean
from selfhood.model.lean_lora import LeanLinear
from selfhood.model.packed import unpack_weights
from selfhood.model.tuners.full import choose_weights
from selfhood.model.tuners.lora import (
    adopt_lora,
    attach_lora,
    continue_lora,
    is_plain_lora,
    use_lean_layers,
)
from selfhood.model.tuners.prompt import (
    attach_prompt,
    continue_prompt,
    is_prompt,
    restore_encoder,
    save_encoder,
)
from selfhood.recipe import TunerOptions

WEIGHTS = "adapter_model.safetensors"
ADAPTER = "default"  # as peft calls the one that is trained


def attach(model: Any, options: TunerOptions, *, base: str, seed: int) -> Any:
    """New weights to train, seeded, as ``--tuner_type`` has it: the peft model, or with full
    training the model itself. ``base`` is what ``adapter_config.json`` will say it belongs to."""
    torch.manual_seed(seed)
    make_lean(model)
    if options.tuner_type == "full":
        return choose_weights(model, options)
    attach_new = attach_lora if options.tuner_type == "lora" else attach_prompt
    tuned = attach_new(model, options)
    tuned.peft_config[ADAPTER].base_model_name_or_path = base
    hold_in_float32(tuned)
    return tuned


def continue_adapter(model: Any, folder: Path, *, base: str) -> Any:
    """The adapter of a checkpoint on ``model``, ready to be trained further."""
    from peft import PeftConfig

    check_is_safe(folder)
    make_lean(model)
    with _fitting(folder):
        kind = PeftConfig.from_pretrained(str(folder))
        continue_one = continue_prompt if kind.is_prompt_learning else continue_lora
        tuned = continue_one(model, folder)
    hold_in_float32(tuned)
    tuned.peft_config[ADAPTER].base_model_name_or_path = base
    return tuned


def hold_in_float32(model: Any) -> None:
    """What is trained; a step of one part in a thousand is lost on a 16-bit weight."""
    for _, weight in trainable(model):
        weight.data = weight.data.float()


def save_weights(
    model: Any, tokenizer: Any, folder: Path, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Whatever is trained, so that answering and training on need nothing else: an adapter in
    peft's own format, or a whole model with its tokenizer. ``weights`` are the model's, by name,
    where they are not all in this process."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        model.save_pretrained(folder, state_dict=weights, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        return
    # "auto" would ask the hub for the base's vocabulary size; this house never resizes it.
    model.save_pretrained(
        str(folder), state_dict=weights, safe_serialization=True, save_embedding_layers=False
    )
    # peft's model card would carry paths of this machine and says nothing about this model.
    (folder / "README.md").unlink(missing_ok=True)
    if is_prompt(model):
        save_encoder(model, folder)


def restore(model: Any, folder: Path) -> None:
    """Give what is trained the weights that ``save_weights`` wrote."""
    from peft import PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    if not isinstance(model, PeftModel):
        saved = type(model).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        model.load_state_dict(saved.state_dict())
    elif is_prompt(model):
        restore_encoder(model, folder)
    else:
        set_peft_model_state_dict(model, load_file(folder / WEIGHTS))


def load_adapter(model: Any, folder: Path, *, name: str = ADAPTER) -> Any:
    """A trained adapter beside those already on ``model``; safetensors only."""
    from peft import LoraConfig, PeftConfig, PeftModel

    check_is_safe(folder)
    with _fitting(folder):
        config = PeftConfig.from_pretrained(str(folder))
        if not (is_plain_lora(config) or config.is_prompt_learning):
            unpack_weights(model)  # DoRA, for one, takes their norms
        if isinstance(model, PeftModel):
            _check_same_kind(model, config, folder)
            if adopt_lora(model, folder, config, name):
                return model
            model.load_adapter(folder, adapter_name=name, low_cpu_mem_usage=True)
            return model.eval()
        if isinstance(config, LoraConfig):
            use_lean_layers(model, config)
        return PeftModel.from_pretrained(
            model, folder, adapter_name=name, config=config, low_cpu_mem_usage=True
        ).eval()


def remove_adapter(model: Any, name: str) -> Any:
    """The model without it: where it was the last one, the model as it was before any."""
    if set(model.peft_config) == {name}:
        return model.unload() if hasattr(model, "unload") else model.get_base_model()
    if model.active_adapter == name:  # peft would go on asking for the one that is gone
        model.set_adapter(next(other for other in model.peft_config if other != name))
    model.delete_adapter(name)
    return model


def _check_same_kind(model: Any, new: Any, folder: Path) -> None:
    there = model.active_peft_config
    if there.peft_type != new.peft_type and (there.is_prompt_learning or new.is_prompt_learning):
        raise InputError(
            f"its {_name(new)} and the other's {_name(there)} cannot stand on one model",
            where=str(folder),
            hint="ask them one after the other",
        )


def check_is_safe(folder: Path) -> None:
    if not (folder / WEIGHTS).exists():
        raise InputError(
            f"holds no {WEIGHTS}",
            where=str(folder),
            hint="pickled adapters are refused; save yours as safetensors",
        )


@contextlib.contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """peft's complaints about an adapter, as one line."""
    try:
        yield
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
        with _learning_as_before(model), model.disable_adapter():
            yield
    else:
        if model.active_adapter != name:
            model.set_adapter(name)
        yield


@contextlib.contextmanager
def _learning_as_before(model: Any) -> Iterator[None]:
    """peft lets all weights of an adapter that comes back learn, also those that were frozen."""
    before = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        yield
    finally:
        for weight, learns in before:
            weight.requires_grad_(learns)


def trains_own_weights(model: Any) -> bool:
    """Whether weights of the model itself are trained, not only ones that were added to it."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return True
    return bool(getattr(model.active_peft_config, "modules_to_save", None))


def trainable(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """The parameters an optimizer works on, in a fixed order."""
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def describe(model: Any) -> str:
    """``lora, 494.0M parameters, 4,399,104 trained (0.89%)``"""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        trained, total = model.get_nb_trainable_parameters()  # counts 4-bit weights one by one
    else:
        total = sum(weight.numel() for weight in model.parameters())
        trained = sum(weight.numel() for _, weight in trainable(model))
    share = f"{trained:,} trained ({trained / total:.2%})"
    return f"{_kind(model)}, {total / 1e6:.1f}M parameters, {share}"


def _kind(model: Any) -> str:
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return "full"
    config = model.active_peft_config
    if config.is_prompt_learning:
        return _name(config)
    lora = "dora" if config.use_dora else "rslora" if config.use_rslora else "lora"
    return f"{lora} on 4-bit weights" if is_quantised(model) else lora


def _name(config: Any) -> str:
    """peft's PREFIX_TUNING, as it is written here."""
    return str(config.peft_type.value).lower().replace("_", "-")


def plain_adapters(model: Any) -> frozenset[str | None]:
    """Who can speak side by side in one pass (``segments``): the base, as None, and adapters that
    are plain LoRAs or virtual tokens. Where any layer carries adapters in another way, nobody."""
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    if not isinstance(model, PeftModel):
        return frozenset({None})
    layers = [
        module
        for module in model.modules()
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)
    ]
    if not all(isinstance(layer, LeanLinear) for layer in layers):
        return frozenset()
    fancy = {name for layer in layers for name in layer.lora_A if not layer.is_plain(name)}
    return frozenset({None, *model.peft_config} - fancy)
