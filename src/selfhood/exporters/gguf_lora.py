"""A peft LoRA -> a GGUF file that llama.cpp lays over its base model."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
from safetensors.torch import load_file

from selfhood.errors import InputError
from selfhood.exporters.gguf import Shape
from selfhood.files import cannot_write, sync_folder
from selfhood.model.plain_lora import WEIGHTS, PlainLora

PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"


def write_gguf_lora(lora: PlainLora, base: Shape, out: Path) -> None:
    """Convert; ``out`` appears whole or not at all.

    llama.cpp multiplies every pair by alpha / rank; what a layer's own scale differs from that by
    goes into its B.
    """
    tensors = load_file(lora.folder / WEIGHTS)
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    writer = gguf.GGUFWriter(beside, gguf.MODEL_ARCH_NAMES[base.architecture])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, lora.alpha)
    for key, a_RI in tensors.items():
        if key.endswith(B):
            continue
        module = key.removeprefix(PREFIX).removesuffix(A)
        if not key.endswith(A) or f"{PREFIX}{module}{B}" not in tensors:
            raise InputError("is no part of a plain LoRA", where=f"{lora.folder}: {key}")
        rank = len(a_RI)
        scale = lora.scale(module, rank) / (lora.alpha / rank)
        b_OR = base.turned(f"{module}.weight", tensors[f"{PREFIX}{module}{B}"].float() * scale)
        name = base.name(f"{module}.weight")
        writer.add_tensor(f"{name}.lora_a", a_RI.float().contiguous().numpy())
        writer.add_tensor(f"{name}.lora_b", b_OR.contiguous().numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        beside.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        beside.unlink(missing_ok=True)
