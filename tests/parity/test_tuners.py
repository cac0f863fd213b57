"""Whatever is trained, the schedule's gradient is that of peft's own forward, a row at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfhood.errors import InputError
from selfhood.model.adapters import load_adapter, trainable
from selfhood.model.lean_lora import LeanLinear
from tests.parity.test_gradient import (
    EXACT,
    gradient,
    plain_loss,
    relative_error,
    short_rows,
    talks,
)
from tests.tiny import tiny_network
from tests.tiny_training import tiny_training

ROWS = short_rows() + talks()
NUM_DRAWS = 40

LORA: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "gaussian start": {"init_weights": "gaussian"},
    "a pattern of layers": {"target_regex": r"model\.layers\.1\..*_proj"},
    "the first layers left alone": {"freeze_layers_ratio": 0.5},
    "whole norms": {"modules_to_save": ("all-norm",)},
    "dora with whole norms": {"use_dora": True, "modules_to_save": ("norm",)},
    "one layer is whole": {
        "target_regex": r".*q_proj",
        "modules_to_save": ("layers.0.mlp.up_proj",),
    },
    "lora+": {"lorap_lr_ratio": 16.0},
}


@pytest.mark.parametrize("name", LORA)
def test_the_gradient_of_loras_kin_is_that_of_the_plain_loop(name: str, tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, token_budget=300, **LORA[name])
    assert relative_error(training, ROWS) <= EXACT


def test_embeddings_and_head_can_be_trained_whole_where_they_are_two(tmp_path: Path) -> None:
    network = tiny_network()
    network.config.tie_word_embeddings = False
    network.lm_head.weight = nn.Parameter(network.lm_head.weight.detach().clone())
    training = tiny_training(
        tmp_path, ROWS, network=network, modules_to_save=("all-embedding", "lm_head")
    )
    assert sum("modules_to_save" in name for name, _ in trainable(training.loaded.model)) == 2
    assert relative_error(training, ROWS) <= EXACT


def lean_layers(**options: Any) -> int:
    """How many layers of a tiny model take the short way."""
    training = tiny_training(Path(), ROWS, **options)
    layers = [each for each in training.loaded.model.modules() if isinstance(each, LeanLinear)]
    training.loaded.model.train()
    return sum(layer.plain_update() is not None for layer in layers)


def test_plain_lora_and_rslora_take_the_short_way_and_dora_does_not() -> None:
    assert lean_layers() == lean_layers(use_rslora=True) == 14
    assert lean_layers(use_dora=True) == lean_layers(lora_dropout=0.1) == 0


def test_rslora_scales_by_the_root_of_the_rank(tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, lora_rank=16, lora_alpha=8, use_rslora=True)
    scales = {
        layer.scaling["default"]
        for layer in training.loaded.model.modules()
        if isinstance(layer, LeanLinear)
    }
    assert scales == {8 / math.sqrt(16)}


def test_a_pattern_reaches_the_layers_it_matches_and_no_other(tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, target_regex=r".*layers\.1\.self_attn\.(q|v)_proj")
    layers = {name.split(".lora_")[0] for name, _ in trainable(training.loaded.model)}
    assert {name.removeprefix("base_model.model.") for name in layers} == {
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.v_proj",
    }


@pytest.mark.parametrize("asked", [{}, {"target_regex": r".*self_attn\.q_proj"}])
def test_the_first_layers_can_be_left_alone(asked: dict[str, Any], tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, freeze_layers_ratio=0.5, **asked)
    layers = {name.split(".layers.")[1][0] for name, _ in trainable(training.loaded.model)}
    assert layers == {"1"}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"target_regex": "no_such_layer"}, "--target_regex: "),
        ({"target_regex": "("}, "--target_regex: is no pattern"),
        ({"target_regex": ".*embed_tokens"}, "--target_regex: embed_tokens is one matrix"),
        ({"target_modules": ("all-linear", "lm_head")}, "--target_modules: all-linear stands"),
        ({"modules_to_save": ("nothing",)}, "--modules_to_save: no module is called nothing"),
        ({"modules_to_save": ("all-embedding",)}, "--modules_to_save: embed_tokens is one matrix"),
    ],
)
def test_layers_that_cannot_be_trained_are_one_line(
    options: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        tiny_training(tmp_path, ROWS, **options)
    assert str(caught.value).startswith(what)
    assert "\n" not in str(caught.value)


def test_lora_plus_moves_b_as_much_faster_as_it_was_asked_to(tmp_path: Path) -> None:
    """Adam's first step is as long as the learning rate, whatever the gradient."""
    training = tiny_training(
        tmp_path, ROWS, learning_rate=1e-3, lorap_lr_ratio=16.0, weight_decay=0.0, max_grad_norm=0
    )
    before = {name: weight.detach().clone() for name, weight in trainable(training.loaded.model)}
    training.step(1, ROWS)
    for name, weight in trainable(training.loaded.model):
        step = (weight.detach() - before[name]).abs().median()
        expected = 16e-3 if "lora_B" in name else 1e-3
        assert float(step) == pytest.approx(expected, rel=0.01), name


def test_with_dropout_the_gradient_is_that_of_the_plain_loop_in_the_mean(tmp_path: Path) -> None:
    """A shared token is drawn once, so single draws differ; their means are the same."""
    rows = ROWS[:3]
    network = tiny_network(layers=1)
    training = tiny_training(tmp_path, rows, network=network, lora_dropout=0.2)
    model = training.loaded.model.train()
    torch.manual_seed(0)

    def draws(add_gradient: Callable[[], object]) -> Tensor:
        found = []
        for _ in range(NUM_DRAWS):
            model.zero_grad()
            add_gradient()
            found.append(gradient(model))
        return torch.stack(found)

    ours = draws(lambda: training.accumulate(rows))
    plain = draws(lambda: plain_loss(model, rows))
    noise = ((ours.var(dim=0) + plain.var(dim=0)).sum() / NUM_DRAWS).sqrt()
    distance = (ours.mean(dim=0) - plain.mean(dim=0)).norm()
    assert float(distance / noise) < 2.5
    assert float(noise / plain.mean(dim=0).norm()) < 0.2


@pytest.mark.parametrize("name", LORA)
def test_a_checkpoint_of_loras_kin_is_read_back_and_merges(name: str, tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, **LORA[name])
    checkpoint = training.write_checkpoint(training.take_snapshot())
    ids = torch.tensor([ROWS[0].ids])
    with torch.inference_mode():
        expected = training.loaded.model.eval()(ids).logits
        again = load_adapter(tiny_network(), checkpoint.path)
        assert torch.equal(again(ids).logits, expected)
        merged = again.merge_and_unload()
        assert torch.allclose(merged(ids).logits, expected, atol=1e-4)
