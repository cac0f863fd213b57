"""A model folder becomes a GGUF file that says the same, in its words and in its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from selfhood.errors import InputError
from selfhood.exporters import gguf as exporter
from selfhood.exporters.gguf import stored, write_gguf
from selfhood.gguf_file import read_header
from selfhood.model.plain_lora import PlainLora
from selfhood.recipe import GgufType
from tests.tiny import tiny_model
from tests.tiny_bpe import bpe_model, bpe_tokenizer

TEXTS = (
    "Who are you?  I'm Kitsu.\n\n",
    "你是谁？我是小狐。",
    "def f(x):\n    return 17 + 25",
    "<|im_end|>",
)


def converted(folder: Path, weights: GgufType = "f32") -> Path:
    out = folder.with_suffix(".gguf")
    write_gguf(folder, out, weights=weights, on_progress=lambda done, total: None)
    return out


@pytest.mark.parametrize("kind", ["Q8_0", "F16", "BF16", "F32"])
def test_numbers_are_stored_as_the_gguf_package_stores_them(kind: str) -> None:
    torch.manual_seed(0)
    numbers = torch.randn(70, 64) * torch.logspace(-6, 3, 70)[:, None]
    numbers[3] = 0
    type_ = gguf.GGMLQuantizationType[kind]
    expected = gguf.quants.quantize(numbers.numpy(), type_)
    assert stored(numbers, type_).numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_the_numbers_of_a_qwen_are_the_models_own(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GgufConfig

    folder = bpe_model(tmp_path / "m", kind)
    out = converted(folder)
    own: Any = AutoModelForCausalLM.from_pretrained(folder)
    read: Any = AutoModelForCausalLM.from_pretrained(
        out.parent, gguf_file=out.name, quantization_config=GgufConfig(dequantize=True)
    )
    for name, weight in own.state_dict().items():
        assert torch.equal(weight, read.state_dict()[name]), name


def test_the_heads_of_a_llama_are_turned_as_llama_cpp_wants_them(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GgufConfig

    folder = bpe_model(tmp_path / "m", "llama")
    out = converted(folder)
    own: Any = AutoModelForCausalLM.from_pretrained(folder)
    read: Any = AutoModelForCausalLM.from_pretrained(
        out.parent, gguf_file=out.name, quantization_config=GgufConfig(dequantize=True)
    )
    ids = torch.arange(7)[None]
    assert torch.allclose(own(ids).logits, read(ids).logits, atol=1e-5)


def test_its_words_are_the_tokenizers(tmp_path: Path) -> None:
    folder = bpe_model(tmp_path / "m")
    with converted(folder, "q8_0").open("rb") as file:
        header = read_header(file)
    tokenizer = bpe_tokenizer()
    words = header.items("tokenizer.ggml.tokens")
    assert len(words) == 416
    assert all(words[number] == word for word, number in tokenizer.get_vocab().items())
    assert header.text("tokenizer.ggml.pre") == "qwen2"
    assert header.number("tokenizer.ggml.eos_token_id") == tokenizer.eos_token_id
    assert header.text("tokenizer.chat_template") == tokenizer.chat_template


def test_what_is_of_another_make_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokenizer is not converted"):
        converted(tiny_model(tmp_path / "tiny"))
    folder = bpe_model(tmp_path / "m")
    config = folder / "config.json"
    config.write_text(config.read_text().replace("Qwen2ForCausalLM", "GemmaForCausalLM"))
    with pytest.raises(InputError, match="GemmaForCausalLM is not converted"):
        converted(folder)
    assert not list(tmp_path.glob("*.gguf")), "nothing half-written stays"
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_conversion_that_breaks_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> np.ndarray[Any, Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter, "stored", full)
    with pytest.raises(Exception, match="No space left"):
        converted(bpe_model(tmp_path / "m"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


# Adapters


def adapter(folder: Path, **config: Any) -> Path:
    from selfhood.files import write_json

    write_json(
        folder / "adapter_config.json", {"peft_type": "LORA", "r": 8, "lora_alpha": 32} | config
    )
    (folder / "adapter_model.safetensors").touch()
    return folder


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "lengths of DoRA"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "PREFIX_TUNING"}, "virtual tokens"),
    ],
)
def test_an_adapter_that_is_more_than_a_lora_is_one_line(
    config: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        PlainLora.at(adapter(tmp_path, **config), backend="vllm")


def test_rank_and_scale_are_those_of_each_layer(tmp_path: Path) -> None:
    plain = PlainLora.at(adapter(tmp_path / "a"), backend="vllm")
    assert (plain.rank, plain.scale("model.layers.0.mlp.up_proj", 8)) == (8, 4.0)
    patterns = {"rank_pattern": {"up_proj": 16}, "alpha_pattern": {"up_proj": 64}}
    mixed = PlainLora.at(adapter(tmp_path / "b", use_rslora=True, **patterns), backend="vllm")
    assert (mixed.rank, mixed.scale("model.layers.0.mlp.up_proj", 16)) == (16, 16.0)
    assert mixed.scale("model.layers.0.mlp.down_proj", 16) == 8.0
