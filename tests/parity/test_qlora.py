"""QLoRA: 4-bit weights below an adapter. Needs bitsandbytes, which runs on CPUs too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood import api
from selfhood.engine.types import fold
from selfhood.exporters.probes import probe_requests
from selfhood.model.adapters import describe
from selfhood.model.four_bits import is_quantised
from selfhood.model.lean_lora import LeanLinear
from selfhood.model.load import load_model
from selfhood.model.tuned import load_tuned
from selfhood.opening import find_opening
from selfhood.recipe import ExportOptions, FourBits, ModelOptions, Quantisation, Recipe
from tests.parity.test_gradient import EXACT, relative_error, short_rows, talks
from tests.tiny import tiny_model
from tests.tiny_training import tiny_training

bitsandbytes = pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = short_rows() + talks()
FOUR_BITS = {"quant_bits": 4, "torch_dtype": "float32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qlora")
    tiny_model(folder / "tiny")
    line = json.dumps({"query": "你是谁？", "response": "我是小狐。"})
    (folder / "rows.jsonl").write_text(f"{line}\n", encoding="utf-8")
    return folder


def recipe(folder: Path, **options: Any) -> Recipe:
    defaults = {
        "model": str(folder / "tiny"),
        "dataset": (str(folder / "rows.jsonl"),),
        "max_steps": 2,
        "output_dir": str(folder / "output"),
    }
    return Recipe.from_values(defaults | FOUR_BITS | options)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("options", [{}, {"use_dora": True}])
def test_the_gradient_is_that_of_pefts_own_forward(
    kind: FourBits, options: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    network = load_model(
        folder / "tiny",
        dtype="float32",
        attention=None,
        quantisation=Quantisation(kind=kind, is_double=True),
    ).model
    training = tiny_training(tmp_path, ROWS, network=network, **options)
    layers = list(training.loaded.model.modules())
    assert sum(isinstance(each, bitsandbytes.nn.Linear4bit) for each in layers) >= 14
    assert not any(isinstance(each, LeanLinear) for each in layers)
    assert relative_error(training, ROWS) <= EXACT


def test_weights_are_counted_one_by_one_and_the_kind_is_named(folder: Path) -> None:
    loaded = load_tuned(recipe(folder), folder / "tiny", dtype=torch.float32)
    whole = load_tuned(recipe(folder, quant_bits=None), folder / "tiny", dtype=torch.float32)
    assert describe(loaded.model) == describe(whole.model).replace("lora", "lora on 4-bit weights")


def test_a_checkpoint_remembers_its_bits_answers_on_them_and_merges_without_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = api.train(api.plan(recipe(folder)))
    checkpoint = str(outcome.last.path)
    opening = find_opening(ModelOptions(adapters=(checkpoint,)))
    assert opening.options.quantisation is not None
    engine = api.open_engine(opening)
    assert is_quantised(engine.loaded.model)
    (reply,) = fold(engine.stream(probe_requests(opening.names[0])[:1]), 1)
    assert reply.num_tokens

    merged = api.merge(ExportOptions.from_values({"adapters": (checkpoint,)}))
    assert "trained on 4-bit weights; it is merged into the model's own" in capsys.readouterr().err
    again = find_opening(ModelOptions(model=str(merged.path)))
    assert again.options.quantisation is None
    config = json.loads((merged.path / "config.json").read_text())
    assert "quantization_config" not in config

    second = api.plan(Recipe.from_values({
        "adapters": (checkpoint,),
        "dataset": (str(folder / "rows.jsonl"),),
    }))  # fmt: skip
    assert second.recipe.model.quantisation is not None


def test_two_weights_share_a_byte(folder: Path) -> None:
    linear = (
        load_tuned(recipe(folder), folder / "tiny", dtype=torch.float32)
        .model.get_base_model()
        .model.layers[0]
    )
    packed = linear.mlp.up_proj.base_layer.weight
    assert packed.dtype == torch.uint8
    assert packed.numel() == 64 * 128 // 2
