"""The gradient of the plain loop, for models that do not look back through the whole row.

Each is a real architecture of transformers, tiny and with random weights; windows are shorter than
the rows, so that a window counted in slots instead of tokens of the row would show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from selfhood.training.layout import Layout, layout_of
from selfhood.training.schedule import pack, pad
from tests.parity.test_gradient import CAUGHT, EXACT, relative_error, short_rows, talks
from tests.tiny_training import tiny_training

WINDOW = 24
SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 256,
}
MIXED: dict[str, Any] = {
    "num_hidden_layers": 2,
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention"],
}
LINEAR: dict[str, Any] = {
    "num_hidden_layers": 2,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

PACKED: dict[str, tuple[str, dict[str, Any]]] = {
    "Mistral, windows alone": ("Mistral", {"num_hidden_layers": 2, "sliding_window": WINDOW}),
    "Qwen2, a mix": ("Qwen2", {"use_sliding_window": True, **MIXED}),
    "Gemma 2, a mix and capped logits": ("Gemma2", MIXED),
    "Gemma 3, a mix": ("Gemma3Text", MIXED),
}
PADDED: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3.5, linear attention": ("Qwen3_5Text", LINEAR),
    "LFM2, convolutions": (
        "Lfm2",
        {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
    ),
    "Granite 4, state spaces and scaled logits": (
        "GraniteMoeHybrid",
        {
            "num_hidden_layers": 2,
            "layer_types": ["linear_attention", "full_attention"],
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_d_state": 8,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "logits_scaling": 0.25,
        },
    ),
}


def network(name: str, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **options})
    made = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")._from_config(config)
    with torch.no_grad():  # as initialised, attention would be even and see no mistake
        for weight in made.parameters():
            weight.mul_(4 if weight.dim() > 1 else 1)
    return made


ROWS: dict[str, Callable[[], list[Any]]] = {
    "short rows": short_rows,
    "talks": talks,
    "identical rows": lambda: short_rows() * 2 + talks(),
}


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", PACKED)
def test_windows_are_packed_exactly(name: str, rows: str, tmp_path: Path) -> None:
    samples = ROWS[rows]()
    training = tiny_training(tmp_path, samples, network=network(*PACKED[name]))
    assert training.passes.layout.lay_out is pack
    assert max(len(sample.ids) for sample in samples) > 2 * WINDOW
    assert relative_error(training, samples) <= EXACT


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("name", PADDED)
def test_what_cannot_be_packed_is_padded_exactly(name: str, rows: str, tmp_path: Path) -> None:
    samples = ROWS[rows]()
    training = tiny_training(tmp_path, samples, network=network(*PADDED[name]))
    assert training.passes.layout.lay_out is pad
    assert any(each.num_rows > 1 for each in training.passes.layout.lay_out(samples, 2048))
    assert relative_error(training, samples) <= EXACT


@pytest.mark.parametrize("name", PACKED)
def test_a_window_that_is_forgotten_would_be_caught(name: str, tmp_path: Path) -> None:
    samples = short_rows()
    training = tiny_training(tmp_path, samples, network=network(*PACKED[name]))
    windows = training.passes.layout.windows
    assert windows is not None
    forgotten = None if isinstance(windows, int) else dict.fromkeys(windows)
    training.passes.layout = replace(training.passes.layout, windows=forgotten)
    assert relative_error(training, samples) > CAUGHT


@pytest.mark.parametrize("name", PADDED)
def test_a_pack_of_rows_that_carry_a_state_would_be_caught(name: str, tmp_path: Path) -> None:
    samples = short_rows()
    training = tiny_training(tmp_path, samples, network=network(*PADDED[name]))
    training.passes.layout = Layout(lay_out=pack)
    assert relative_error(training, samples) > CAUGHT


def test_validation_is_padded_where_training_is(tmp_path: Path) -> None:
    samples = short_rows()
    options = {"network": network(*PADDED["LFM2, convolutions"]), "val_samples": samples}
    training = tiny_training(tmp_path, samples, **options)
    training.loaded.model.eval()
    (each,) = training.passes.layout.lay_out(samples, 2048)
    assert each.num_rows == len(samples)
    with torch.no_grad():
        assert training.loss.measure(training.passes.batch(each)).nll > 0


def test_a_model_with_masks_of_its_own_is_padded() -> None:
    """MPT's attention biases depend on slots, not on positions."""
    layout = layout_of(transformers.MptConfig(d_model=32, n_heads=2, n_layers=1))
    assert layout.lay_out is pad
    assert layout.obstacle == "makes its own attention masks"
