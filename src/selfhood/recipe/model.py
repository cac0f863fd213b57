"""Which model, and how it is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfhood.errors import FlagError
from selfhood.recipe.option import Options, option

Dtype = Literal["float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "eager"]
QuantMethod = Literal["bnb"]
FourBits = Literal["nf4", "fp4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """Weights in 4 bits: their levels, and whether the scales of blocks are quantised again."""

    kind: FourBits
    is_double: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(Options):
    """Which model, and how it is held in memory."""

    model: str | None = option(None, "model: a folder, a .gguf file, or a hub id")
    model_revision: str | None = option(None, "branch, tag or commit on the hub")
    use_hf: bool | None = option(None, "take ids from Hugging Face instead of ModelScope")
    adapters: tuple[str, ...] = option((), "adapter checkpoints (folders); several answer in turn")
    torch_dtype: Dtype | None = option(
        None, "dtype of the weights; default: float32 on a CPU, bfloat16 on a GPU"
    )
    attn_impl: Attention | None = option(None, "attention implementation; default: sdpa")
    quant_bits: int | None = option(
        None, "4: hold the model in 4 bits under an adapter (QLoRA)", minimum=4, maximum=4
    )
    quant_method: QuantMethod | None = option(None, "what quantises; default: bnb")
    bnb_4bit_quant_type: FourBits = option("nf4", "levels of 4-bit weights")
    bnb_4bit_use_double_quant: bool = option(True, "quantise the scales of 4-bit weights too")
    system: str | None = option(
        None, "system line, or a .txt file with it; '' leaves it to the chat template"
    )
    enable_thinking: bool | None = option(
        None, "whether a thinking model thinks before it replies; default: as it was taught"
    )

    def __post_init__(self) -> None:
        Options.__post_init__(self)  # super() knows nothing of classes remade for their slots
        if self.quant_method is not None and self.quant_bits is None:
            raise FlagError("is missing", where="--quant_bits", hint="add --quant_bits 4")

    @property
    def quantisation(self) -> Quantisation | None:
        if self.quant_bits is None:
            return None
        return Quantisation(kind=self.bnb_4bit_quant_type, is_double=self.bnb_4bit_use_double_quant)
