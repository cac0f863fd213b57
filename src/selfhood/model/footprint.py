"""What a model and a pass through it take, counted before any weight is loaded.

The model is built on torch's meta device, where tensors have a shape and a type and no memory, gets
its adapter, and is run on a few tokens. Autograd's hooks show every tensor that a pass keeps until
the way back, whatever the architecture and whatever is trained. With fused attention a tensor grows
by the token or not at all, and its size says which. Masks are left out: the passes that have them
are short, and a long row alone has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfhood.model.adapters import attach, trainable
from selfhood.model.tuners.prompt import without_peft
from selfhood.recipe import Quantisation, Recipe

TOKENS = 127  # a prime: what it divides has tokens for an axis, since widths are round numbers
# Measured on the starter model: what is computed again leaves gaps in the allocator's heap, by
# layer about this share of its widest tensor.
REMAINS = 2 / 3
FUSED = "selfhood_fused"  # the name of the attention below among transformers' kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes."""

    frozen: int
    trained: int
    kept_anyway: int
    kept_by_token: int
    layers: int
    layer_input: int
    """By token: all that a layer keeps when it computes the rest again."""
    widest: int
    """By token: the largest tensor that is kept."""
    logits: int
    """By position, in the dtype in which the head computes."""
    read: int
    """Numbers a token that the A matrices of a LoRA read, all of them together."""

    def activations(self, tokens: int) -> float:
        return self.kept_anyway + self.kept_by_token * tokens

    def recomputed(self, tokens: int) -> float:
        """The inputs of all layers, one layer whole at a time, and what the others leave behind."""
        by_layer = (self.layer_input + REMAINS * self.widest) * tokens
        return self.layers * by_layer + self.activations(tokens) / self.layers


def footprint_of(config: Any, recipe: Recipe, *, dtype: torch.dtype) -> Footprint | None:
    """``dtype`` is what the run computes in. None for models that look at their numbers on the way
    (some mixtures of experts), for attention that keeps its scores, and where processes share the
    model's parts."""
    from transformers import AttentionInterface, AutoModelForCausalLM

    if recipe.model.attn_impl == "eager" or recipe.train.has_parts:
        return None
    if recipe.tuner.tuner_type == "full":
        dtype = torch.float32  # as what moves is held
    AttentionInterface.register(FUSED, fused_attention)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype, attn_implementation=FUSED
        )
        tuned = attach(model, recipe.tuner, base="", seed=0).train()
        try:
            kept = kept_by(tuned, TOKENS)
        except RuntimeError:  # a kernel that cannot do without numbers
            return None
    growing = [size for size in kept if size % TOKENS == 0]
    text = config.get_text_config(decoder=True)
    trained = {weight for _, weight in trainable(tuned)}
    return Footprint(
        frozen=bytes_of_frozen(tuned, trained, recipe.model.quantisation),
        trained=sum(weight.numel() * torch.float32.itemsize for weight in trained),
        kept_anyway=sum(kept) - sum(growing),
        kept_by_token=sum(growing) // TOKENS,
        layers=text.num_hidden_layers,
        layer_input=text.hidden_size * dtype.itemsize,
        widest=max(growing, default=0) // TOKENS,
        logits=text.vocab_size * dtype.itemsize,
        read=sum(weight.shape[1] for name, weight in trainable(tuned) if "lora_A" in name),
    )


def bytes_of_frozen(
    tuned: Any, trained: set[torch.nn.Parameter], quantisation: Quantisation | None
) -> int:
    """With 4 bits, linear layers but the head hold half a byte a weight and a scale for 64."""
    base = without_peft(tuned)
    linear = {
        module.weight
        for module in base.modules()
        if isinstance(module, torch.nn.Linear) and module is not base.get_output_embeddings()
    }
    total = 0.0
    for weight in tuned.parameters():
        if weight in trained:
            continue
        if quantisation is not None and weight in linear:
            total += weight.numel() * (0.5 + (1 if quantisation.is_double else 4) / 64)
        else:
            total += weight.nbytes
    return int(total)


def kept_by(tuned: Any, tokens: int) -> list[int]:
    """Bytes of each tensor that autograd keeps of a pass, beside the weights."""
    weights = {weight.untyped_storage()._cdata for weight in tuned.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor
        return tensor

    slots_1T = torch.arange(tokens)[None]
    decoder = without_peft(tuned).get_decoder()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        decoder(input_ids=slots_1T, position_ids=slots_1T, use_cache=False)
    return [tensor.untyped_storage().nbytes() for tensor in kept.values()]


def fused_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention that keeps no scores, as torch's fused kernels on CPU and GPU do. On the meta
    device torch's general function would not choose one of them."""
    groups = getattr(module, "num_key_value_groups", 1)
    out = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query,
        key.repeat_interleave(groups, dim=1),
        value.repeat_interleave(groups, dim=1),
        attn_mask=attention_mask,
        scale=scaling,
    )[0]
    return out.transpose(1, 2).contiguous(), None
