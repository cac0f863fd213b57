"""Full training: the gradient of the model's own weights, and which of them move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selfhood.errors import InputError
from selfhood.model.adapters import trainable
from selfhood.model.load import Loaded
from selfhood.training.forward import Forward
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


def full_training(folder: Path, **options: Any) -> Any:
    return tiny_training(folder, ROWS, tuner_type="full", awake=False, **options)


@pytest.mark.parametrize("budget", [64, 300, 2048])
def test_the_gradient_is_that_of_the_plain_loop(budget: int, tmp_path: Path) -> None:
    assert relative_error(full_training(tmp_path, token_budget=budget), ROWS) <= EXACT


def test_a_matrix_that_reads_and_speaks_gets_its_gradient_from_both(tmp_path: Path) -> None:
    """The head's part comes chunk by chunk, the embedding's at the end of the pass."""
    training = full_training(tmp_path)
    model = training.loaded.model.train()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.zero_grad()
    plain_loss(model, ROWS)
    expected = model.lm_head.weight.grad.clone()
    model.zero_grad()
    training.accumulate(ROWS)
    found = model.lm_head.weight.grad
    assert float((found - expected).norm() / expected.norm()) <= EXACT
    never_spoken = torch.tensor(sorted(set(ROWS[0].ids) - spoken(ROWS)))
    assert len(never_spoken) and bool((found[never_spoken].norm(dim=1) > 0).all())


def spoken(rows: Any) -> set[int]:
    return {
        token
        for row in rows
        for token, trained in zip(row.ids, row.trained, strict=True)
        if trained
    }


def moving(**options: Any) -> set[str]:
    return {name for name, _ in trainable(full_training(Path(), **options).loaded.model)}


ALL = {name for name, _ in tiny_network().named_parameters()}
FIRST, SECOND = (
    {name for name in ALL if name.startswith(f"model.layers.{number}.")} for number in (0, 1)
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ALL),
        (
            {"freeze_parameters": ("model.layers.0", "model.embed_tokens")},
            {*SECOND, "model.norm.weight"},
        ),
        ({"freeze_parameters_regex": r"layers|norm"}, {"model.embed_tokens.weight"}),
        ({"freeze_parameters_ratio": 1.0, "trainable_parameters": ("model.layers.1",)}, SECOND),
        (
            {"freeze_parameters_regex": ".*", "trainable_parameters_regex": r"layers\.0\."},
            FIRST,
        ),
    ],
)
def test_what_is_frozen_stays_and_what_is_trained_after_all_moves(
    options: dict[str, Any], expected: set[str]
) -> None:
    assert moving(**options) == expected


def test_a_share_is_taken_from_the_first_layers_on() -> None:
    kept = moving(freeze_parameters_ratio=0.5)
    assert "model.embed_tokens.weight" not in kept
    assert "model.layers.0.self_attn.q_proj.weight" not in kept
    assert SECOND & kept and "model.norm.weight" in kept
    sizes = {name: weight.numel() for name, weight in tiny_network().named_parameters()}
    frozen = sum(sizes[name] for name in ALL - kept)
    assert 0.4 * sum(sizes.values()) < frozen <= 0.5 * sum(sizes.values())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"freeze_parameters": ("nothing",)}, "--freeze_parameters: no weight's name begins with"),
        ({"freeze_parameters_regex": "("}, "--freeze_parameters_regex: is no pattern"),
        (
            {"trainable_parameters_regex": "nothing"},
            "--trainable_parameters_regex: nothing is found",
        ),
        ({"freeze_parameters_ratio": 1.0}, "--freeze_parameters: every weight is frozen"),
    ],
)
def test_a_choice_that_names_nothing_is_one_line(options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError) as caught:
        full_training(Path(), **options)
    assert str(caught.value).startswith(what)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{}, {"freeze_parameters": ("model.embed_tokens",)}])
def test_the_gradient_is_exact_with_frozen_weights(options: dict[str, Any], tmp_path: Path) -> None:
    assert relative_error(full_training(tmp_path, **options), ROWS) <= EXACT


def test_in_16_bits_the_weights_that_move_stay_whole(tmp_path: Path) -> None:
    """A step of a thousandth is less than half of bfloat16's last place: it would be lost."""
    training = full_training(tmp_path, learning_rate=1e-5)
    exact = training_gradient(training.loaded)
    half = Loaded(
        model=training.loaded.model,
        tokenizer=training.loaded.tokenizer,
        path=tmp_path,
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
    )
    rough = training_gradient(half)
    assert rough.dtype == torch.float32
    error = float((rough - exact).norm() / exact.norm())
    assert 1e-4 < error < 0.05


def training_gradient(loaded: Loaded) -> Tensor:
    from selfhood.training.batch import to_batch
    from selfhood.training.loss import ChunkedLoss
    from selfhood.training.schedule import pack

    loaded.model.zero_grad()
    loss = ChunkedLoss(Forward(loaded.model, dtype=loaded.dtype))
    for each in pack(ROWS, 2048):
        batch = to_batch(each, device=loaded.device, dtype=loaded.dtype)
        loss.backward(batch, num_targets=100)
    return gradient(loaded.model)
