"""A local folder or GGUF file -> model and tokenizer, in the dtype this machine is good at."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selfhood.errors import InputError, SelfhoodError
from selfhood.model.attention import NAME, register
from selfhood.model.convert import convert
from selfhood.model.four_bits import four_bits, keep_layout
from selfhood.processes import Place
from selfhood.recipe import Attention, Dtype, Quantisation

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
GENERATION = "generation_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model ready to use, and how it is held."""

    model: Any
    tokenizer: Any
    path: Path
    device: torch.device
    dtype: torch.dtype


def load_tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    _quiet_transformers()
    if path.is_file():
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return AutoTokenizer.from_pretrained(path, trust_remote_code=False)


def load_config(path: Path) -> Any:
    """The model's shape, without its weights."""
    from transformers import AutoConfig

    if path.is_file():
        return AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    return AutoConfig.from_pretrained(path, trust_remote_code=False)


def load_generation(path: Path) -> Any:
    """The model's own generation settings; the usual ones where it brings none."""
    from transformers import GenerationConfig

    folder = path.parent if path.is_file() else path
    if path.is_file() or not (folder / GENERATION).is_file():
        return GenerationConfig.from_model_config(load_config(path))
    return GenerationConfig.from_pretrained(folder)


def load_model(
    path: Path,
    *,
    dtype: Dtype | torch.dtype | None,
    attention: Attention | None,
    quantisation: Quantisation | None = None,
    device: torch.device | None = None,
    tokenizer: Any = None,
) -> Loaded:
    """Load for training or inference, onto the best device or another. Weights are safetensors or
    GGUF, never pickles; with ``quantisation`` linear layers hold 4 bits a weight and multiply in
    ``dtype``. A torch.dtype is used as it is; a name is a wish (see ``best_dtype``). ``tokenizer``
    is the model's, where it has been loaded before."""
    from transformers import AutoModelForCausalLM

    _quiet_transformers()
    wanted = dtype if isinstance(dtype, torch.dtype) else best_dtype(best_device(), dtype)
    device = device or best_device()
    options: dict[str, Any] = {
        "dtype": wanted,
        "attn_implementation": attention or usual_attention(load_config(path), device),
    }
    try:
        if path.is_file():
            from transformers import GgufConfig

            model = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                quantization_config=GgufConfig(dequantize=True),
                **options,
            )
        else:
            _refuse_pickles(path)
            if quantisation is not None:
                options["quantization_config"] = four_bits(quantisation, wanted)
            elif device.type == "cpu":
                options["dtype"] = stored_dtype(path)  # mapped, not read; converted below
            model = AutoModelForCausalLM.from_pretrained(
                path, use_safetensors=True, trust_remote_code=False, **options
            )
            if options["dtype"] != wanted:
                convert(model, wanted)
    except (ValueError, OSError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(f"cannot be loaded: {first_line}", where=str(path)) from error
    torch.nn.Module.to(model, device)
    if quantisation is not None:
        keep_layout(model)
    return Loaded(
        model=model,
        tokenizer=tokenizer or load_tokenizer(path),
        path=path,
        device=device,
        dtype=wanted,
    )


def usual_attention(config: Any, device: torch.device) -> str:
    """The fastest here that the model takes, as transformers knows it by name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if device.type == "cpu":
        network = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
        if not getattr(network, "_supports_attention_backend", False):
            return "sdpa"
        register()
        return NAME
    return "sdpa"


def _refuse_pickles(path: Path) -> None:
    if any(path.glob("*.safetensors")):
        return
    pickles = [file.name for file in path.iterdir() if file.suffix in PICKLES]
    if pickles:
        raise SelfhoodError(
            f"holds only pickled weights ({pickles[0]}), which can run code when opened",
            where=str(path),
            hint="convert them to safetensors first",
        )


def best_device() -> torch.device:
    """A GPU if there is one; where several processes train, each has its own."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", Place.from_environment(os.environ).local_rank)


def best_dtype(device: torch.device, asked: Dtype | None) -> torch.dtype:
    """bfloat16 where the hardware multiplies it fast, float32 elsewhere.

    A CPU without bf16 units computes it 3 to 5 times slower than float32, and less exactly; asked
    for it, this house answers with float32 (the caller says so, see ``overrides_dtype``).
    """
    if device.type == "cpu" and (asked != "float32" and not has_fast_bfloat16()):
        return torch.float32
    return torch.bfloat16 if asked is None else DTYPES[asked]


def overrides_dtype(asked: Dtype | None) -> bool:
    """Whether a dtype that was asked for is not the one used."""
    return asked is not None and best_dtype(best_device(), asked) != DTYPES[asked]


def has_fast_bfloat16() -> bool:
    """Whether this CPU has AMX or AVX512-BF16 units."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def stored_dtype(path: Path) -> torch.dtype:
    """The dtype the weights have on disk; bfloat16 for a quantised GGUF."""
    if path.is_file():
        return torch.bfloat16
    dtype = load_config(path).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def context_length(model_config: Any) -> int:
    """Longest sequence in tokens the model was made for."""
    return int(getattr(model_config, "max_position_embeddings", 0) or 32768)


def _quiet_transformers() -> None:
    """transformers' bars and notices would break into ours."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    warnings.filterwarnings("ignore", module="transformers")
    warnings.filterwarnings("ignore", module="peft")
