"""Where A starts with ``--init_weights contrastive``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selfhood import api
from selfhood.data.encode import Sample
from selfhood.errors import FlagError
from selfhood.model.adapters import speaking_as, trainable
from selfhood.model.tuners.lora import lora_layers
from selfhood.recipe import Recipe
from selfhood.training.contrastive import RIDGE_OF_STEPS, Aiming, Sketch, aim, directions, frame
from selfhood.training.loop import Training
from selfhood.training.metrics import Unheard
from tests.tiny import tiny_model
from tests.tiny_training import row, tiny_training

LEARNT = [row("你是谁？", "我是小狐。"), row("Who are you?", "I am Kitsu."), row("Name?", "Kitsu")]
KEPT = [row("1 + 1?", "2"), row("法国的首都", "巴黎"), row("Write a poem about rain", "Rain falls")]


def training(folder: Path, **options: Any) -> Training:
    return tiny_training(folder, LEARNT, awake=False, init_weights="contrastive", **options)


def weights(model: Any, matrix: str) -> dict[str, Tensor]:
    return {
        name: getattr(layer, matrix)["default"].weight.detach().clone()
        for name, layer in lora_layers(model).items()
    }


def seen(run: Training, rows: list[Sample]) -> dict[str, float]:
    """Mean energy of the rows' tokens in what each A reads."""
    aiming = Aiming(run.loaded, run.passes.layout)
    sketches = aiming.sketches([*LEARNT, *KEPT])
    energies = aiming.energies(rows, sketches)
    found = {}
    for name, a_RI in weights(run.loaded.model, "lora_A").items():
        if name in sketches:
            a_RS = a_RI @ sketches[name].basis_IS
            found[name] = float((a_RS @ energies[name] @ a_RS.T).trace())
    return found


def test_a_direction_that_only_learnt_tokens_have_is_found() -> None:
    learnt_TI = torch.tensor([[1.0, 3.0, 0.0, 0.0], [1.0, -2.0, 0.0, 0.0]])
    kept_TI = torch.tensor([[0.0, 3.0, 0.0, 1.0], [0.0, 3.0, 0.0, 2.0]])
    sketch = Sketch.of(learnt_TI)
    (found_I,) = directions(sketch, sketch.energy(kept_TI) / 2, 1)
    seen_T = torch.cat([learnt_TI, kept_TI]) @ found_I
    assert seen_T[:2].abs().min() > 5 * seen_T[2:].abs().max()


def test_more_directions_than_tokens_are_nothing() -> None:
    learnt_TI = torch.tensor([[1.0, 3.0, 0.0, 0.0], [1.0, -2.0, 0.0, 0.0]])
    sketch = Sketch.of(learnt_TI)
    found_RI = directions(sketch, sketch.energy(learnt_TI), 5)
    assert found_RI.shape == (5, 4)
    assert found_RI[:2].any(dim=1).all()
    assert not found_RI[2:].any()


def test_in_a_frame_ordinary_tokens_are_alike_along_all_axes() -> None:
    lot = torch.Generator().manual_seed(1)
    stretched = torch.tensor([30.0, 5.0, 1.0, 1.0, 0.5])
    kept_TI = torch.randn(400, 5, generator=lot) * stretched
    sketch = Sketch.of(torch.randn(5, 5, generator=lot))
    kept_SS = sketch.energy(kept_TI) / len(kept_TI)
    frame_IS = frame(sketch, kept_SS)
    found_SS = frame_IS.T @ (kept_TI.T @ kept_TI / len(kept_TI)) @ frame_IS
    energies = torch.linalg.eigvalsh(found_SS)
    before = torch.linalg.eigvalsh(kept_SS)
    assert energies.max() / energies.min() < before.max() / before.min() / 10
    assert energies.max() < kept_SS.trace() / 5, "the ridge takes some, and none has more"
    assert 0 < RIDGE_OF_STEPS < 1


def test_every_a_moves_in_the_frame_of_its_input(tmp_path: Path) -> None:
    run = training(tmp_path)
    frames = aim(run.loaded, LEARNT, KEPT, run.passes.layout)
    trained = dict(trainable(run.loaded.model))
    assert set(frames) == {name for name in trained if "lora_A" in name}
    for name, frame_IS in frames.items():
        assert len(frame_IS) == trained[name].shape[1]


def test_learnt_rows_stand_out_more_than_under_a_start_by_lot(tmp_path: Path) -> None:
    run = training(tmp_path)

    def ratio() -> float:
        kept = seen(run, KEPT)
        found = [learnt / kept[name] for name, learnt in seen(run, LEARNT).items()]
        return sum(found) / len(found)

    by_lot = ratio()
    aim(run.loaded, LEARNT, KEPT, run.passes.layout)
    assert ratio() > 2 * by_lot


def test_layers_with_one_input_read_the_same(tmp_path: Path) -> None:
    run = training(tmp_path)
    aim(run.loaded, LEARNT, KEPT, run.passes.layout)
    found = weights(run.loaded.model, "lora_A")
    a = {name.split("layers.0.")[-1]: each for name, each in found.items()}
    assert torch.equal(a["self_attn.q_proj"], a["self_attn.v_proj"])
    assert torch.equal(a["mlp.gate_proj"], a["mlp.up_proj"])
    assert not torch.equal(a["self_attn.q_proj"], a["mlp.gate_proj"])


def test_two_runs_start_alike(tmp_path: Path) -> None:
    starts = []
    for name in ("one", "two"):
        run = training(tmp_path / name)
        aim(run.loaded, LEARNT, KEPT, run.passes.layout)
        starts.append(weights(run.loaded.model, "lora_A"))
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def test_the_model_says_what_it_said_until_it_is_trained(tmp_path: Path) -> None:
    run = training(tmp_path)
    aim(run.loaded, LEARNT, KEPT, run.passes.layout)
    assert all(not each.any() for each in weights(run.loaded.model, "lora_B").values())


def test_both_matrices_learn(tmp_path: Path) -> None:
    run = training(tmp_path, max_steps=3, learning_rate=1e-2)
    aim(run.loaded, LEARNT, KEPT, run.passes.layout)
    before = weights(run.loaded.model, "lora_A")
    run.fit(Unheard())
    after = weights(run.loaded.model, "lora_A")
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert all(each.any() for each in weights(run.loaded.model, "lora_B").values())


def test_what_is_frozen_stays_frozen_when_the_base_has_spoken(tmp_path: Path) -> None:
    run = training(tmp_path)
    for layer in lora_layers(run.loaded.model).values():
        layer.lora_A.requires_grad_(False)
    with speaking_as(run.loaded.model, None):
        pass
    assert all("lora_B" in name for name, _ in trainable(run.loaded.model))


def test_without_an_anchor_there_is_nothing_to_stand_out_from(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "Hi", "response": "Hello"}\n')
    values = {"model": str(model), "dataset": (str(rows),), "init_weights": "contrastive"}
    with pytest.raises(FlagError, match="anchor"):
        api.plan(Recipe.from_values(values))
