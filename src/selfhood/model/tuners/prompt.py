"""Prefix-tuning, p-tuning, prompt-tuning: virtual tokens before every row; no weight moves.

    prefix-tuning   trains their keys and values in every layer              arXiv 2101.00190
    p-tuning        trains a small network that makes their embeddings       arXiv 2103.10385
    prompt-tuning   trains their embeddings                                  arXiv 2104.08691

peft's forward puts them before each row of a batch. Here whoever runs the model asks for them and
puts them before all of it, for they are the same for every row: ``virtual_tokens``.

Suffixes: B rows, V virtual tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfhood.errors import InputError
from selfhood.recipe import TunerOptions

ENCODER = "prompt_encoder.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualTokens:
    """``num`` tokens that stand before every row: keys and values (a transformers cache), or
    embeddings for the first layer."""

    num: int
    cache: Any | None = None
    embeddings_BVD: Tensor | None = None


def attach_prompt(model: Any, options: TunerOptions) -> Any:
    """The peft model; its virtual tokens are all that trains."""
    import peft

    common: dict[str, Any] = {
        "num_virtual_tokens": options.num_virtual_tokens,
        "task_type": "CAUSAL_LM",
    }
    if options.tuner_type == "prefix-tuning":
        tuned = peft.get_peft_model(model, peft.PrefixTuningConfig(**common))
        start_as_text(tuned)
        return tuned
    if options.tuner_type == "p-tuning":
        return peft.get_peft_model(model, peft.PromptEncoderConfig(**common))
    start = peft.PromptTuningInit.SAMPLE_VOCAB
    return peft.get_peft_model(model, peft.PromptTuningConfig(prompt_tuning_init=start, **common))


@torch.no_grad()
def start_as_text(tuned: Any) -> None:
    """Give the prefix the keys and values of random tokens. peft's start, noise of size 1 that no
    text ever makes, would first have to be unlearned."""
    base = tuned.get_base_model()
    num = tuned.peft_config["default"].num_virtual_tokens
    ids_1V = torch.randint(base.config.vocab_size, (1, num), device=base.device)
    cache = base.eval()(input_ids=ids_1V, use_cache=True).past_key_values
    # (V, layers x 2, heads, width of a head), as peft's get_prompt takes it apart.
    parts = [
        part[0].transpose(0, 1) for layer in cache.layers for part in (layer.keys, layer.values)
    ]
    _encoder(tuned).embedding.weight.copy_(torch.stack(parts, dim=1).reshape(num, -1))


def is_prompt(model: Any) -> bool:
    """Whether virtual tokens stand before the rows of this model, not new weights inside it."""
    from peft import PeftModel

    return isinstance(model, PeftModel) and bool(model.active_peft_config.is_prompt_learning)


def without_peft(model: Any) -> Any:
    """The model below, with any LoRA layers that are in it, and without peft's own forward."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def num_virtual_tokens(model: Any, name: str | None) -> int:
    """Of the adapter of that name; 0 for the base, whose name is None."""
    adapters = getattr(model, "peft_config", {})
    return getattr(adapters.get(name), "num_virtual_tokens", 0)


def virtual_tokens(model: Any, *, batch_size: int) -> VirtualTokens | None:
    """Those of the active adapter, each time anew; None where it has none, or where the base
    speaks."""
    if not is_prompt(model) or not model.has_active_enabled_adapter:
        return None
    prompt = model.get_prompt(batch_size)
    num = model.active_peft_config.num_virtual_tokens
    if isinstance(prompt, Tensor):
        embeddings_BVD = prompt.to(model.get_base_model().dtype)
        return VirtualTokens(num=num, embeddings_BVD=embeddings_BVD)
    return VirtualTokens(num=num, cache=prompt)


def save_encoder(model: Any, folder: Path) -> None:
    """What training on needs: peft's own file has the outcome of p-tuning's network only."""
    from safetensors.torch import save_file

    save_file(_encoder(model).state_dict(), folder / ENCODER)


def continue_prompt(model: Any, folder: Path) -> Any:
    """The peft model of a checkpoint, its virtual tokens ready to be trained further."""
    import peft
    from safetensors.torch import load_file

    config = peft.PeftConfig.from_pretrained(str(folder))
    is_ours = (folder / ENCODER).is_file()
    if config.peft_type == peft.PeftType.P_TUNING and not is_ours:
        raise InputError(
            f"holds no {ENCODER}: p-tuning's network is not in peft's own file",
            where=str(folder),
            hint="it answers, but cannot be trained on",
        )
    config.inference_mode = False
    tuned = peft.get_peft_model(model, config)
    if is_ours:
        restore_encoder(tuned, folder)
    else:
        peft.set_peft_model_state_dict(tuned, load_file(folder / "adapter_model.safetensors"))
    return tuned


def restore_encoder(model: Any, folder: Path) -> None:
    from safetensors.torch import load_file

    _encoder(model).load_state_dict(load_file(folder / ENCODER))


def _encoder(model: Any) -> Any:
    return model.prompt_encoder["default"]
