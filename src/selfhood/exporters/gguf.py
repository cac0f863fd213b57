"""A Hugging Face folder of the Llama, Qwen2 or Qwen3 family -> one GGUF file for llama.cpp.

    config.json, tokenizer.json  ->  key-value pairs
    *.safetensors                ->  tensors, one in memory at a time; vectors stay float32

Names and block formats are those of the ``gguf`` package, which llama.cpp's own converter uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from selfhood.errors import InputError
from selfhood.exporters.gguf_tokenizer import add_tokenizer
from selfhood.files import cannot_write, read_json, sync_folder
from selfhood.recipe import GgufType

ROWS_AT_ONCE = 4096
OnProgress = Callable[[int, int], None]

ARCHITECTURES: Mapping[str, gguf.MODEL_ARCH] = {
    "LlamaForCausalLM": gguf.MODEL_ARCH.LLAMA,
    "Qwen2ForCausalLM": gguf.MODEL_ARCH.QWEN2,
    "Qwen3ForCausalLM": gguf.MODEL_ARCH.QWEN3,
}
KINDS: Mapping[GgufType, gguf.GGMLQuantizationType] = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
FILE_TYPES: Mapping[GgufType, gguf.LlamaFileType] = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What converting a tensor takes to know of the model it belongs to."""

    architecture: gguf.MODEL_ARCH
    num_layers: int
    num_heads: int
    num_key_heads: int

    @classmethod
    def of(cls, folder: Path) -> Shape:
        """Raises InputError for a model that is not of these families."""
        config = read_json(folder / "config.json")
        (name,) = config.get("architectures") or ("none that it names",)
        if name not in ARCHITECTURES:
            raise InputError(
                f"{name} is not converted to GGUF here",
                where=str(folder),
                hint=f"that is done for {', '.join(ARCHITECTURES)}; or use --infer_backend native",
            )
        num_heads = config["num_attention_heads"]
        return cls(
            architecture=ARCHITECTURES[name],
            num_layers=config["num_hidden_layers"],
            num_heads=num_heads,
            num_key_heads=config.get("num_key_value_heads") or num_heads,
        )

    def name(self, hub_name: str) -> str:
        """``model.layers.3.mlp.up_proj.weight`` -> ``blk.3.ffn_up.weight``."""
        names = gguf.get_tensor_name_map(self.architecture, self.num_layers)
        name = names.get_name(hub_name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise InputError("has no place in a GGUF file", where=hub_name)
        return str(name)

    def turned(self, hub_name: str, rows: Tensor) -> Tensor:
        """The rows of a matrix, or the numbers of a bias, in the order llama.cpp wants them.

        Its Llama turns neighbours (2i, 2i+1) of a head, where Hugging Face turns i and i + half.
        """
        is_key = ".k_proj." in hub_name
        if self.architecture is not gguf.MODEL_ARCH.LLAMA or not (is_key or ".q_proj." in hub_name):
            return rows
        num_heads = self.num_key_heads if is_key else self.num_heads
        halves = rows.reshape(num_heads, 2, len(rows) // num_heads // 2, *rows.shape[1:])
        return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(folder: Path, out: Path, *, weights: GgufType, on_progress: OnProgress) -> None:
    """Convert; ``out`` appears whole or not at all. Progress counts weights written."""
    shape = Shape.of(folder)
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with ExitStack() as stack:
            writer = gguf.GGUFWriter(beside, gguf.MODEL_ARCH_NAMES[shape.architecture])
            stack.callback(beside.unlink, missing_ok=True)
            stack.callback(writer.close)
            _add_settings(writer, folder, shape, weights)
            add_tokenizer(writer, folder)
            _write_tensors(writer, folder, shape, weights, on_progress)
            writer.close()
            with beside.open("rb") as file:
                os.fsync(file.fileno())
            beside.replace(out)
            sync_folder(out.parent)
    except OSError as error:
        raise cannot_write(out, error) from error


def _add_settings(writer: gguf.GGUFWriter, folder: Path, shape: Shape, weights: GgufType) -> None:
    config = read_json(folder / "config.json")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise InputError(
            "its positions are scaled, which is not converted to GGUF here",
            where=str(folder),
            hint="use --infer_backend native",
        )
    writer.add_name(folder.name)
    writer.add_file_type(FILE_TYPES[weights])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(shape.num_layers)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(shape.num_heads)
    writer.add_head_count_kv(shape.num_key_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    writer.add_vocab_size(config["vocab_size"])
    head = config.get("head_dim") or config["hidden_size"] // shape.num_heads
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)


def _write_tensors(
    writer: gguf.GGUFWriter, folder: Path, shape: Shape, weights: GgufType, on_progress: OnProgress
) -> None:
    """Their table first, for a reader finds them by it; then each one's numbers."""
    kinds = {}
    total = 0
    for hub_name, sizes in _sizes(folder):
        kinds[hub_name] = kind = _kind(sizes, weights)
        block, num_bytes = gguf.GGML_QUANT_SIZES[kind]
        num = torch.Size(sizes).numel()
        total += num
        writer.add_tensor_info(
            shape.name(hub_name),
            sizes,
            np.dtype(np.float32),
            num // block * num_bytes,
            raw_dtype=kind,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    done = 0
    for hub_name, tensor in _tensors(folder, list(kinds)):
        writer.write_tensor_data(stored(shape.turned(hub_name, tensor), kinds[hub_name]).numpy())
        done += tensor.numel()
        on_progress(done, total)


def stored(numbers: Tensor, kind: gguf.GGMLQuantizationType) -> Tensor:
    """The bytes that stand for ``numbers``, as ``gguf.quants`` makes them, on all cores."""
    match kind:
        case gguf.GGMLQuantizationType.F32:
            flat = numbers.float()
        case gguf.GGMLQuantizationType.F16:
            flat = numbers.half()
        case gguf.GGMLQuantizationType.BF16:
            flat = numbers.bfloat16()
        case _:
            rows = torch.split(numbers.reshape(-1, numbers.shape[-1]), ROWS_AT_ONCE)
            return torch.cat([_in_8_bits(each.float()) for each in rows])
    return flat.contiguous().reshape(-1).view(torch.uint8)


def _in_8_bits(numbers: Tensor) -> Tensor:
    """Q8_0: of each block of 32 the scale in float16, then 32 whole numbers from -127 to 127."""
    blocks_N32 = numbers.reshape(-1, 32)
    scale_N1 = blocks_N32.abs().amax(dim=1, keepdim=True) / 127
    # Halves go away from zero, as C rounds; torch's own rounding goes to the even number.
    times_N32 = blocks_N32 * torch.where(scale_N1 == 0, 0, 1 / scale_N1)
    whole_N32 = (times_N32.abs() + 0.5).floor() * times_N32.sign()
    parts = (scale_N1.half().view(torch.uint8), whole_N32.to(torch.int8).view(torch.uint8))
    return torch.cat(parts, dim=1).reshape(-1)


def _kind(sizes: list[int], weights: GgufType) -> gguf.GGMLQuantizationType:
    kind = KINDS[weights]
    if len(sizes) == 1:
        return gguf.GGMLQuantizationType.F32
    fits = sizes[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
    return kind if fits else gguf.GGMLQuantizationType.F16


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError("holds no safetensors weights", where=str(folder))
    return files


def _is_kept(name: str) -> bool:
    """Older files carry the rotary frequencies, which every reader computes."""
    return not name.endswith("rotary_emb.inv_freq")


def _sizes(folder: Path) -> Iterator[tuple[str, list[int]]]:
    tied = bool(read_json(folder / "config.json").get("tie_word_embeddings"))
    for path in _files(folder):
        with safe_open(path, "pt") as file:
            for name in filter(_is_kept, file.keys()):
                if not (tied and name == "lm_head.weight"):
                    yield name, list(file.get_slice(name).get_shape())


def _tensors(folder: Path, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    for path in _files(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                if name in names:
                    yield name, file.get_tensor(name)
