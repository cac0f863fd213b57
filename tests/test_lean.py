"""Layers that keep less for the way back: where they stand, what they compute, what they keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from selfhood.model import adapters, lean_mlp
from selfhood.model.adapters import attach
from selfhood.model.lean import make_lean
from selfhood.model.lean_mlp import LeanMlp
from selfhood.model.lean_norm import LeanNorm
from selfhood.recipe import TunerOptions
from tests.parity.test_gradient import CAUGHT, EXACT, gradient, short_rows
from tests.tiny import tiny_network
from tests.tiny_training import tiny_training

ROWS = short_rows()
TOKENS, WIDTH, INNER = 11, 64, 128
BFLOAT16 = 2  # bytes
TUNERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora with A frozen": {"init_weights": "contrastive"},
    "dora": {"use_dora": True},
    "lora on the gate alone": {"target_modules": ("gate_proj",)},
    "whole norms": {"modules_to_save": ("all-norm",)},
    "full": {"tuner_type": "full"},
    "p-tuning": {"tuner_type": "p-tuning"},
}


def count(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(each, kind) for each in model.modules())


def error(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> float:
    """Of the gradient against that of transformers' own layers."""
    gradients = []
    for _ in range(2):
        training = tiny_training(folder, ROWS, **options)
        training.loaded.model.train()
        torch.manual_seed(0)
        training.accumulate(ROWS)
        gradients.append(gradient(training.loaded.model))
        monkeypatch.setattr(adapters, "make_lean", lambda model: None)
    return float((gradients[0] - gradients[1]).norm() / gradients[1].norm())


@pytest.mark.parametrize("name", TUNERS)
def test_whatever_is_trained_the_gradient_is_that_of_transformers_layers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert error(tmp_path, monkeypatch, **TUNERS[name]) <= EXACT


@pytest.mark.parametrize("lost", [0, 1])
def test_a_gradient_that_lacks_gate_or_up_would_be_caught(
    lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lean_mlp._gate_gradients

    def forgetful(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        found = list(whole(*tensors))
        found[lost] = torch.zeros_like(found[lost])
        return found[0], found[1]

    monkeypatch.setattr(lean_mlp, "_gate_gradients", forgetful)
    assert error(tmp_path, monkeypatch) > CAUGHT


def test_in_bfloat16_layers_compute_the_very_same_numbers() -> None:
    torch.manual_seed(0)
    plain, lean = (tiny_network().bfloat16() for _ in range(2))
    make_lean(lean)
    assert (count(lean, LeanMlp), count(lean, LeanNorm)) == (2, 5)
    hidden = 4 * torch.randn(1, TOKENS, WIDTH).bfloat16()
    out: dict[str, list[Tensor]] = {"mlp": [], "norm": []}
    for network in (plain, lean):
        layer = network.model.layers[0]
        for name, module in (("mlp", layer.mlp), ("norm", layer.input_layernorm)):
            into = hidden.clone().requires_grad_()
            made = module(into)
            made.square().sum().backward()
            assert into.grad is not None
            out[name] += [made, into.grad]
    for made, grad, lean_made, lean_grad in out.values():
        assert torch.equal(made, lean_made)
        torch.testing.assert_close(grad, lean_grad, rtol=0.01, atol=0.01)


def test_two_wide_tensors_fewer_and_half_of_the_norms_input_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[str, list[int]] = {"mlp": [], "norm": []}
    for _ in range(2):
        tuned = attach(tiny_network().bfloat16(), TunerOptions(), base="", seed=0).train()
        layer = tuned.get_base_model().model.layers[0]
        kept["mlp"].append(bytes_kept(layer.mlp))
        kept["norm"].append(bytes_kept(layer.input_layernorm))
        monkeypatch.setattr(adapters, "make_lean", lambda model: None)
    lean, plain = kept["mlp"]
    assert plain - lean == 2 * TOKENS * INNER * BFLOAT16
    lean, plain = kept["norm"]
    assert plain - lean == TOKENS * WIDTH * BFLOAT16


def bytes_kept(module: nn.Module) -> int:
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(torch.ones(1, TOKENS, WIDTH, dtype=torch.bfloat16, requires_grad=True))
    return sum(tensor.nbytes for place, tensor in kept.items() if place not in weights)


def test_names_of_weights_and_of_adapters_stay() -> None:
    plain, lean = tiny_network(), tiny_network()
    make_lean(lean)
    assert list(plain.state_dict()) == list(lean.state_dict())
    tuned = attach(tiny_network(), TunerOptions(), base="", seed=0)
    assert count(tuned, LeanMlp) == 2
    assert "base_model.model.model.layers.1.mlp.down_proj.lora_A.default.weight" in dict(
        tuned.named_parameters()
    )


class Clamped(nn.Module):
    """As gpt-oss has it: the same names, and a limit."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = mlp.gate_proj, mlp.up_proj
        self.down_proj, self.act_fn = mlp.down_proj, mlp.act_fn

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate_proj(x).clamp(max=7)
        out: Tensor = self.down_proj(self.act_fn(gate) * self.up_proj(x))
        return out


class OneMore(nn.Module):
    """As Gemma has it: a weight of nought leaves things as they are."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = norm.weight, norm.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        normed = functional.rms_norm(x.float(), x.shape[-1:], eps=self.variance_epsilon)
        out: Tensor = (normed * (1 + self.weight.float())).type_as(x)
        return out


def test_layers_of_another_form_stay_what_they_are() -> None:
    network = tiny_network()
    for layer in network.model.layers:
        layer.mlp = Clamped(layer.mlp)
        layer.input_layernorm = OneMore(layer.input_layernorm)
    network.model.layers[0].post_attention_layernorm.forward = lambda x: x
    make_lean(network)
    assert (count(network, LeanMlp), count(network, LeanNorm)) == (0, 2)


def test_a_gate_of_another_kind_stays() -> None:
    network = tiny_network()
    network.model.layers[0].mlp.act_fn = nn.GELU()
    make_lean(network)
    assert count(network, LeanMlp) == 1
