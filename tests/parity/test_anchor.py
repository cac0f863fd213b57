"""The anchor's gradient is that of KL(base || tuned), as a plain loop over single rows has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from selfhood.data.encode import Sample
from selfhood.model.adapters import speaking_as
from selfhood.training.anchor import Anchor, hidden_states
from selfhood.training.layout import layout_of
from selfhood.training.loop import Training
from tests.parity.test_gradient import CAUGHT, EXACT, gradient, plain_loss, short_rows, talks
from tests.tiny_training import row, tiny_training

KEPT = [
    row("What is 17 + 25?", "17 + 25 = 42."),
    row("阿里云是什么公司？", "一家云计算公司。"),
    row("阿里云是什么公司？", "一家云计算公司。", "还有呢？", "没有了。"),
    row("Hello!", "Hello! How can I help?", system="Be brief."),
]
KEPT[2] = replace(  # of a talk only the last reply is kept
    KEPT[2], trained=tuple(i > len(KEPT[1].ids) and t for i, t in enumerate(KEPT[2].trained))
)


def plain_divergence(model: Any, rows: Sequence[Sample], weight: float) -> None:
    """Adds the gradient of ``weight`` * KL(base || tuned), the mean over the rows' tokens."""
    num_tokens = sum(sum(sample.trained[1:]) for sample in rows)
    for sample in rows:
        ids_1T = torch.tensor([sample.ids])
        with torch.no_grad(), speaking_as(model, None):
            base_TV = model(input_ids=ids_1T).logits[0, -len(sample.ids) : -1].log_softmax(-1)
        tuned_TV = model(input_ids=ids_1T).logits[0, -len(sample.ids) : -1].log_softmax(-1)
        kl_T = functional.kl_div(tuned_TV, base_TV, log_target=True, reduction="none").sum(-1)
        loss = weight * (kl_T * torch.tensor(sample.trained[1:])).sum() / num_tokens
        loss.backward()  # type: ignore[no-untyped-call]


def anchored(folder: Path, rows: Sequence[Sample], **options: Any) -> Training:
    training = tiny_training(folder, short_rows() + talks(), **options)
    kept = [replace(sample, anchor=number) for number, sample in enumerate(rows)]
    states = hidden_states(kept, training.loaded, layout_of(training.loaded.model.config))
    training.anchor = Anchor(samples=kept, states=states, per_update=len(kept), weight=0.7)
    return training


def relative_error(training: Training) -> float:
    learnt = list(training.samples)
    model = training.loaded.model.train()
    model.zero_grad()
    plain_loss(model, learnt)
    plain_divergence(model, training.anchor.samples, training.anchor.weight)
    expected = gradient(model)
    model.zero_grad()
    training.accumulate([*learnt, *training.anchor.rows(1)])
    return float((gradient(model) - expected).norm() / expected.norm())


@pytest.mark.parametrize("budget", [64, 300, 2048])
def test_the_gradient_is_that_of_the_plain_loop(budget: int, tmp_path: Path) -> None:
    assert relative_error(anchored(tmp_path, KEPT, token_budget=budget)) <= EXACT


@pytest.mark.parametrize("tuner", ["prefix-tuning", "p-tuning"])
def test_virtual_tokens_are_held_by_the_anchor_too(tuner: str, tmp_path: Path) -> None:
    assert relative_error(anchored(tmp_path, KEPT, tuner_type=tuner)) <= EXACT


def test_states_of_another_place_would_be_caught(tmp_path: Path) -> None:
    training = anchored(tmp_path, KEPT)
    moved = [states.roll(1, dims=0) for states in training.anchor.states]
    training.anchor = replace(training.anchor, states=moved)
    assert relative_error(training) > CAUGHT


def test_a_row_that_is_learnt_and_kept_is_both(tmp_path: Path) -> None:
    training = anchored(tmp_path, [short_rows()[0]])
    assert relative_error(training) <= EXACT


def test_an_adapter_that_changes_nothing_does_not_diverge(tmp_path: Path) -> None:
    training = anchored(tmp_path, KEPT, awake=False)
    sums = training.accumulate([*training.samples, *training.anchor.rows(1)])
    assert abs(sums.anchor_kl) < 1e-6


def test_a_learnt_row_weighs_the_same_beside_an_anchor(tmp_path: Path) -> None:
    with_anchor = anchored(tmp_path, KEPT, awake=False)
    alone = tiny_training(tmp_path, with_anchor.samples, awake=False)
    beside = with_anchor.accumulate([*with_anchor.samples, *with_anchor.anchor.rows(1)])
    assert beside.loss == pytest.approx(alone.accumulate(alone.samples).loss, rel=1e-5)
