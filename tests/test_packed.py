"""Packed weights answer as the weights do, take their place in memory, and can be had back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfhood.hosting import open_engine
from selfhood.model.adapters import load_adapter
from selfhood.model.packed import PackedLinear, pack_weights, unpack_weights
from selfhood.opening import find_opening
from selfhood.recipe import ModelOptions
from tests.parity.test_layouts import PACKED, PADDED, network
from tests.test_speakers import KINDS, answers, engine_of, loud_network, trained
from tests.tiny import tiny_model, tiny_network

MODELS = {**PACKED, **PADDED}


def packed(model: Any) -> Any:
    pack_weights(model)
    return model


def layers(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [each for each in model.modules() if type(each) is kind]


BFLOAT16 = pytest.param(
    torch.bfloat16,
    marks=pytest.mark.skipif(
        not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        reason="the processor has no such products in bfloat16",
    ),
)


@pytest.mark.parametrize("num_tokens", [1, 16, 200])
@pytest.mark.parametrize("dtype", [torch.float32, BFLOAT16])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_packed_layer_multiplies_as_the_layer_does(
    num_tokens: int, dtype: torch.dtype, has_bias: bool
) -> None:
    layer = nn.Linear(300, 500, bias=has_bias).to(dtype)
    x_1TI = torch.randn(1, num_tokens, 300).to(dtype)
    with torch.inference_mode():
        expected: Tensor = layer(x_1TI)
        found = PackedLinear(layer)(x_1TI)
    assert found.dtype == dtype
    error = (found.float() - expected.float()).abs().max() / expected.float().abs().max()
    assert error <= torch.finfo(dtype).eps * 8


@pytest.mark.parametrize("name", MODELS)
def test_a_packed_model_says_what_the_model_says(name: str) -> None:
    model = network(*MODELS[name]).eval()
    ids_1T = torch.arange(1, 40)[None]
    with torch.inference_mode():
        expected = model(ids_1T).logits
        found = packed(model)(ids_1T).logits
    assert layers(model, PackedLinear), "nothing of it could be packed"
    assert (found - expected).norm() / expected.norm() <= 1e-5


def test_every_linear_layer_is_packed_and_only_a_shared_embedding_keeps_its_own() -> None:
    model = packed(tiny_network())
    assert not layers(model, nn.Linear)
    names, before = (dict(each.named_parameters()).keys() for each in (model, tiny_network()))
    assert names - before == {"lm_head.weight"}


def test_the_weights_can_be_had_back_bit_for_bit() -> None:
    model = packed(tiny_network())
    unpack_weights(model)
    expected = tiny_network().state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_was_trained_speaks_as_well_on_packed_weights(kind: str, tmp_path: Path) -> None:
    folder = trained(kind, tmp_path)
    expected = answers(engine_of(load_adapter(loud_network(), folder)), "default")
    assert answers(engine_of(load_adapter(packed(loud_network()), folder)), "default") == expected


@pytest.mark.parametrize(("free", "is_packed"), [(1e12, True), (1e6, False)])
def test_an_engine_packs_the_weights_where_there_is_room_for_them(
    free: float, is_packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfhood.training.memory.free_memory", lambda device: free)
    engine = open_engine(find_opening(ModelOptions(model=str(tiny_model(tmp_path)))))
    assert bool(layers(engine.loaded.model, PackedLinear)) is is_packed


def test_an_adapter_that_reads_the_weights_may_come_after_one_that_does_not(tmp_path: Path) -> None:
    lora, dora = trained("lora", tmp_path / "a"), trained("dora", tmp_path / "b")
    alone = [
        answers(engine_of(load_adapter(loud_network(), each)), "default") for each in (lora, dora)
    ]
    engine = engine_of(load_adapter(packed(loud_network()), lora, name="a"))
    assert answers(engine, "a") == alone[0]
    engine.add_speaker("b", dora)
    assert [answers(engine, name) for name in "ab"] == alone
