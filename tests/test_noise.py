"""NEFTune's noise: as large as the paper has it, drawn anew, and only while training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from selfhood.training.batch import Batch, to_batch
from selfhood.training.noise import neftune_noise, row_lengths
from selfhood.training.schedule import pack
from tests.tiny_training import row, tiny_training

ROWS = [row("Hi", "Hello!"), row("Hi", "Hello, what can I do for you?"), row("你是谁？", "小狐。")]
ALPHA, WIDTH = 5.0, 64


def batch_of(*rows: int) -> Batch:
    (together,) = pack([ROWS[number] for number in rows], 2048)
    return to_batch(together, device=torch.device("cpu"), dtype=torch.float32)


def test_a_slot_counts_the_longest_row_through_it() -> None:
    #        0 ── 1 ─┬─ 2
    #                └─ 3 ── 4
    assert row_lengths([0, 1, 2, 2, 3], [4, 4, 2, 4, 4]) == [4, 4, 3, 4, 4]


@pytest.mark.parametrize("rows", [(0,), (0, 1, 2)])
def test_noise_is_as_large_as_the_row_is_long(rows: tuple[int, ...]) -> None:
    batch = batch_of(*rows)
    draws = torch.stack(
        [neftune_noise(batch, nn.Embedding(259, WIDTH), ALPHA)[0] for _ in range(50)]
    )
    longest = max(len(ROWS[number].ids) for number in rows)
    (each,) = pack([ROWS[number] for number in rows], 2048)
    bounds_T = draws.abs().amax(dim=(0, 2))[: each.num_tokens]
    assert float(bounds_T[0]) == pytest.approx(ALPHA / math.sqrt(longest * WIDTH), rel=0.01)
    shortest = min(len(ROWS[number].ids) for number in rows)
    assert float(bounds_T.max()) == pytest.approx(ALPHA / math.sqrt(shortest * WIDTH), rel=0.01)
    assert abs(float(draws.mean())) < 0.01 * float(bounds_T[0])


def test_noise_is_drawn_anew_in_training_and_absent_in_validation(tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, neftune_noise_alpha=5.0)
    silent = tiny_training(tmp_path, ROWS)
    model = training.loaded.model.train()
    losses = {training.accumulate(ROWS).loss for _ in range(3)}
    assert len(losses) == 3
    model.eval()
    assert training.loss.measure(batch_of(0)) == silent.loss.measure(batch_of(0))


def test_two_runs_with_one_seed_draw_the_same_noise(tmp_path: Path) -> None:
    losses = []
    for _ in range(2):
        training = tiny_training(tmp_path, ROWS, neftune_noise_alpha=5.0)
        training.loaded.model.train()
        torch.manual_seed(1)
        losses.append(training.step(1, ROWS).loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", ["p-tuning", "prefix-tuning", "full"])
def test_noise_goes_with_any_tuner(kind: str, tmp_path: Path) -> None:
    training = tiny_training(tmp_path, ROWS, tuner_type=kind, neftune_noise_alpha=5.0)
    training.loaded.model.train()
    assert training.accumulate(ROWS).loss != training.accumulate(ROWS).loss
