"""What a run needs, what there is, and what is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.errors import FlagError, InputError
from selfhood.model.adapters import attach
from selfhood.model.footprint import FUSED, Footprint, footprint_of, kept_by
from selfhood.recipe import Recipe, TunerOptions
from selfhood.training import fit as fitting
from selfhood.training import memory
from selfhood.training.budget import Budget, cheapest
from selfhood.training.fit import Demand, Room, fit
from selfhood.training.memory import (
    available,
    free_memory,
    left_in_cgroup,
    peak_resident,
    resident,
)
from tests.parity.test_gradient import short_rows
from tests.tiny import tiny_network
from tests.tiny_training import tiny_training

CPU = torch.device("cpu")
RECIPE = Recipe.from_values({})


def tiny_footprint() -> Footprint:
    found = footprint_of(tiny_network().config, RECIPE, dtype=torch.float32)
    assert found is not None
    return found


def test_weights_and_what_is_trained_are_counted_to_the_byte() -> None:
    model = attach(tiny_network(), TunerOptions(), base="", seed=0)
    sizes = {True: 0, False: 0}
    for weight in model.parameters():
        sizes[weight.requires_grad] += weight.nbytes
    found = tiny_footprint()
    assert (found.frozen, found.trained) == (sizes[False], sizes[True])


def test_activations_of_any_length_follow_from_one_short_pass() -> None:
    found = tiny_footprint()
    with torch.device("meta"):
        network = tiny_network()
        network.set_attn_implementation(FUSED)
        counted = sum(kept_by(attach(network, TunerOptions(), base="", seed=0).train(), 777))
    assert found.activations(777) == pytest.approx(counted, rel=1e-3)


def test_a_real_pass_keeps_what_was_counted(tmp_path: Path) -> None:
    rows = short_rows()
    training = tiny_training(tmp_path, rows)
    (each,) = training.passes.layout.lay_out(rows, 2048)
    weights = {weight.untyped_storage().data_ptr() for weight in training.loaded.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    training.loaded.model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        batch = training.passes.batch(each)
        training.loaded.model.get_base_model().get_decoder()(
            input_ids=batch.ids_BT,
            position_ids=batch.positions_BT,
            attention_mask=batch.mask,
            use_cache=False,
        )
    real = sum(
        tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in weights
    )
    width = batch.ids_BT.shape[1]
    mask = width**2 * 4
    recipe = training.recipe
    found = footprint_of(tiny_network().config, recipe, dtype=torch.float32)
    assert found is not None
    assert found.activations(width) == pytest.approx(real - mask, rel=1e-3)


def demand(longest: int = 100, update: int = 1600) -> Demand:
    return Demand(longest=longest, update=update, passes=lambda tokens: [250] * 4)


def fitted(monkeypatch: pytest.MonkeyPatch, free: float, rows: Demand, **flags: Any) -> Any:
    monkeypatch.setattr(fitting, "free_memory", lambda device: free)
    monkeypatch.setattr(memory, "resident", lambda: 0.0)
    monkeypatch.setattr(memory, "STILL_TO_COME", 0)
    recipe = Recipe.from_values({"torch_dtype": "float32", **flags})
    return fit(recipe, tiny_network().config, rows, CPU)


def test_with_memory_to_spare_nothing_is_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitted(monkeypatch, 10e9, demand(longest=4000))
    assert found.budget == Budget(tokens=256)
    assert found.forecast.total < found.free


def test_long_rows_are_recomputed_and_short_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitted(monkeypatch, 12e6, demand(longest=1500))
    assert found.budget.tokens == 256
    assert 256 < found.budget.recompute_above < 1500
    assert found.forecast.total < found.free


def test_what_does_not_fit_gets_smaller_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    roomy = fitted(monkeypatch, 10e9, demand())
    found = fitted(monkeypatch, roomy.forecast.total, demand())
    assert found.budget == Budget(tokens=128)


def test_a_row_that_nothing_holds_is_refused_with_the_length_that_would_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match=r"does not fit: .* use --max_length \d+ or a smaller"):
        fitted(monkeypatch, 12e6, demand(longest=4000))
    with pytest.raises(InputError, match="use a smaller model"):
        fitted(monkeypatch, 1e6, demand())


def test_wishes_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitted(monkeypatch, 10e9, demand(), token_budget=777, gradient_checkpointing=True)
    assert found.budget == Budget(tokens=777, recompute_above=0)


def test_a_long_common_beginning_makes_passes_larger() -> None:
    """Sixteen rows of 60 tokens that share 300: small passes would compute those often."""
    passes = {256: 16 * [360], 512: 5 * [480] + [360], 1024: [1020, 540], 2048: [1260]}
    assert cheapest(tuple(passes), passes.__getitem__) == 2048


def test_passes_grow_while_fewer_of_them_are_worth_it() -> None:
    assert cheapest((256, 512), lambda budget: [250]) == 256
    assert cheapest((256, 512, 1024, 2048), lambda budget: 4096 // budget * [budget]) == 1024


def test_memory_is_read_from_the_system_and_from_a_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:    2000 kB\n")
    assert available(meminfo) == 2_048_000
    assert available(tmp_path / "none") == float("inf")
    assert left_in_cgroup(tmp_path) == float("inf")
    for name, text in (("max", "1000"), ("current", "900"), ("stat", "anon 1\ninactive_file 50\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert left_in_cgroup(tmp_path) == 150
    (tmp_path / "memory.max").write_text("max\n")
    assert left_in_cgroup(tmp_path) == float("inf")
    assert 0 < resident() < free_memory(CPU)


def test_a_peak_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    held = b"x" * 400_000_000
    own = peak_resident()
    question = "from selfhood.training.memory import peak_resident; print(peak_resident())"
    told = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, check=True
    )
    assert resident() <= own * 1.01
    assert 0 < float(told.stdout) < own - len(held) / 4


def test_recomputing_keeps_less() -> None:
    found = tiny_footprint()
    assert found.recomputed(4000) < 0.7 * found.activations(4000)
    room = Room(footprint=found, device=CPU, free=resident() + 400e6)
    assert room.most(recomputes=True) > 1.4 * room.most(recomputes=False)


@pytest.mark.parametrize("tuner", ["lora", "full", "prefix-tuning", "p-tuning", "prompt-tuning"])
def test_every_tuner_is_counted(tuner: str) -> None:
    recipe = Recipe.from_values({"tuner_type": tuner})
    found = footprint_of(tiny_network().config, recipe, dtype=torch.float32)
    assert found is not None
    model = attach(tiny_network(), recipe.tuner, base="", seed=0)
    assert found.trained == sum(each.nbytes for each in model.parameters() if each.requires_grad)


def test_four_bits_are_counted_as_four_bits() -> None:
    options = {"quant_bits": 4, "quant_method": "bnb"}
    found, whole = (
        footprint_of(tiny_network().config, recipe, dtype=torch.bfloat16)
        for recipe in (Recipe.from_values(options), RECIPE)
    )
    assert found is not None
    assert whole is not None
    assert found.frozen < 0.5 * whole.frozen


def test_prefixes_are_never_recomputed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FlagError, match="cannot be done with this model or tuner"):
        fitted(monkeypatch, 10e9, demand(), tuner_type="prefix-tuning", gradient_checkpointing=True)
    found = fitted(monkeypatch, 10e9, demand(), tuner_type="prefix-tuning", token_budget=64)
    assert found.budget.smaller() is None
