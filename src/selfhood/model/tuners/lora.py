"""LoRA and its kin (DoRA, rsLoRA): a low-rank update beside the layers that are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from selfhood.errors import InputError
from selfhood.model.four_bits import is_quantised
from selfhood.recipe import TunerOptions

ALL_LINEAR = "all-linear"


def attach_lora(model: Any, options: TunerOptions) -> Any:
    """The peft model; its new weights are the only ones that train, with ``modules_to_save``."""
    from peft import LoraConfig, get_peft_model

    targets = _targets(options)
    whole = _modules_to_save(model, options)
    flag = "--target_modules" if options.target_regex is None else "--target_regex"
    _refuse_shared_matrix(model, _reached(model, targets), where=flag)
    _refuse_shared_matrix(model, whole, where="--modules_to_save")
    config = LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=targets,
        exclude_modules=_first_layers(model, options.freeze_layers_ratio),
        modules_to_save=whole or None,
        use_dora=options.use_dora,
        use_rslora=options.use_rslora,
        init_lora_weights="gaussian" if options.init_weights == "gaussian" else True,
        task_type="CAUSAL_LM",
    )
    use_lean_layers(model, config)
    try:
        tuned = get_peft_model(model, config)
    except ValueError as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(first_line, where=flag) from error
    return tuned


def lora_layers(model: Any) -> dict[str, Any]:
    """peft's layers with matrices A and B, by name, in the model's order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "lora_A", None), nn.ModuleDict) and module.lora_A
    }


def continue_lora(model: Any, folder: Path) -> Any:
    """The peft model of a checkpoint, its adapter ready to be trained further."""
    from peft import LoraConfig, PeftModel

    config = LoraConfig.from_pretrained(str(folder))
    use_lean_layers(model, config)
    return PeftModel.from_pretrained(model, folder, config=config, is_trainable=True)


def adopt_lora(model: Any, folder: Path, config: Any, name: str) -> bool:
    """Put a trained adapter into the layers that carry others already, in a few milliseconds.
    False, with nothing done, where it is more than a plain LoRA or stands in other layers."""
    from safetensors.torch import load_file

    from selfhood.model.lean_lora import LeanLinear

    if not is_plain_lora(config):
        return False
    device = next(model.parameters()).device
    weights = load_file(folder / "adapter_model.safetensors", device=str(device))
    layers = lora_layers(model)
    pairs = {
        key.removesuffix(".lora_A.weight"): (
            weights[key],
            weights[key.replace("lora_A", "lora_B")],
        )
        for key in weights
        if key.endswith(".lora_A.weight")
    }
    fit = all(isinstance(layers.get(where), LeanLinear) for where in pairs)
    if not fit or 2 * len(pairs) != len(weights):
        return False
    for where, (a_RI, b_OR) in pairs.items():
        layers[where].adopt(name, a_RI.float(), b_OR.float(), config)
    model.peft_config[name] = config
    return True


def is_plain_lora(config: Any) -> bool:
    """One rank and one scale in all layers, and nothing besides A and B."""
    from peft import LoraConfig

    is_more = ("use_dora", "lora_bias", "modules_to_save", "rank_pattern", "alpha_pattern")
    return type(config) is LoraConfig and not any(getattr(config, name) for name in is_more)


def use_lean_layers(model: Any, config: Any) -> None:
    """By peft's door for layers of one's own; what is saved is the same. A quantised layer is a
    Linear by name only."""
    from selfhood.model.lean_lora import LeanLinear

    if not is_quantised(model):
        config._register_custom_module({nn.Linear: LeanLinear})


def _targets(options: TunerOptions) -> str | list[str]:
    """As peft takes them: one string is a pattern, or stands for every linear layer."""
    if options.target_regex is not None:
        return options.target_regex
    if options.target_modules == (ALL_LINEAR,):
        return ALL_LINEAR
    if ALL_LINEAR in options.target_modules:
        raise InputError(
            f"{ALL_LINEAR} stands alone",
            where="--target_modules",
            hint="for other layers beside them write a pattern, as --target_regex",
        )
    return list(options.target_modules)


def _first_layers(model: Any, ratio: float) -> str | None:
    """A pattern of all that lies in them, as many as stay within the share; None for none."""
    num = int(ratio * model.config.get_text_config(decoder=True).num_hidden_layers)
    return rf"(.*\.)?layers\.({'|'.join(map(str, range(num)))})\..*" if num else None


def _reached(model: Any, targets: str | list[str]) -> list[str]:
    """Names that the targets name or match; all linear layers are none that matters here."""
    if isinstance(targets, list):
        return targets
    try:
        return [name for name, _ in model.named_modules() if re.fullmatch(targets, name)]
    except re.error as error:
        raise InputError(f"is no pattern: {error}", where="--target_regex") from error


def _modules_to_save(model: Any, options: TunerOptions) -> list[str]:
    """Names of modules, with ``all-norm`` and ``all-embedding`` written out."""
    named = dict(model.named_modules())
    kinds = {
        "all-norm": [name for name, module in named.items() if _is_norm(module)],
        "all-embedding": [name for name, each in named.items() if isinstance(each, nn.Embedding)],
    }
    found: list[str] = []
    for asked in options.modules_to_save:
        whole = kinds.get(asked) or [name for name in named if f".{name}".endswith(f".{asked}")]
        if not whole:
            raise InputError(f"no module is called {asked}", where="--modules_to_save")
        found += whole
    return list(dict.fromkeys(found))


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _refuse_shared_matrix(model: Any, names: Iterable[str], *, where: str) -> None:
    shared = {"lm_head", "embed_tokens"} & {name.split(".")[-1] for name in names}
    if shared and model.config.tie_word_embeddings:
        raise InputError(
            f"{min(shared)} is one matrix for reading and speaking in this model; an update of "
            "one of the two could never be merged",
            where=where,
            hint="leave it out",
        )
