"""What a model and a pass through it take, counted before any weight is loaded.

The model is built on torch's meta device, where tensors have a shape and a type and no memory, gets
its adapter, and is run on a few tokens. Autograd's hooks show every tensor that a pass keeps until
the way back, whatever the architecture and whatever is trained. With fused attention that grows by
the token, so two passes tell the rest. A mask is left out: the passes that need one are short, and
a long row alone has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfhood.model.adapters import attach, trainable
from selfhood.recipe import Attention, TunerOptions

FEW, MORE = 32, 64  # tokens
FUSED = "selfhood_fused"  # the name of the attention below among transformers' kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes."""

    frozen: int
    trained: int
    kept_anyway: float
    kept_by_token: float
    layers: int
    layer_input: int
    """By token: all that a layer keeps when it computes the rest again."""
    logits: int
    """By position, in float32, and as the head gives them where it computes in 16 bits."""

    def activations(self, tokens: int) -> float:
        return self.kept_anyway + self.kept_by_token * tokens

    def recomputed(self, tokens: int) -> float:
        """The inputs of all layers, and one layer whole at a time."""
        return self.layers * self.layer_input * tokens + self.activations(tokens) / self.layers


def footprint_of(
    config: Any, tuner: TunerOptions, *, dtype: torch.dtype, attention: Attention | None
) -> Footprint | None:
    """None for models that look at their numbers on the way (some mixtures of experts), and for
    attention that keeps its scores."""
    if attention == "eager":
        return None
    from transformers import AttentionInterface, AutoModelForCausalLM

    AttentionInterface.register(FUSED, fused_attention)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype, attn_implementation=FUSED
        )
        tuned = attach(model, tuner, base="", seed=0).train()
        try:
            few, more = kept_by(tuned, FEW), kept_by(tuned, MORE)
        except (NotImplementedError, RuntimeError):
            return None
    by_token = (more - few) / (MORE - FEW)
    text = config.get_text_config(decoder=True)
    trained = {weight for _, weight in trainable(tuned)}
    width = text.hidden_size * dtype.itemsize
    return Footprint(
        frozen=sum(weight.nbytes for weight in tuned.parameters() if weight not in trained),
        trained=sum(weight.nbytes for weight in trained),
        kept_anyway=few - FEW * by_token,
        kept_by_token=by_token,
        layers=text.num_hidden_layers,
        layer_input=width,
        logits=text.vocab_size * (4 if dtype == torch.float32 else 4 + dtype.itemsize),
    )


def kept_by(tuned: Any, tokens: int) -> int:
    """Bytes that autograd keeps of a pass, beside the weights."""
    weights = {weight.untyped_storage()._cdata for weight in tuned.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor
        return tensor

    slots_1T = torch.arange(tokens)[None]
    decoder = tuned.get_base_model().get_decoder()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        decoder(input_ids=slots_1T, position_ids=slots_1T, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


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
