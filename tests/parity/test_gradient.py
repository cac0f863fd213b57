"""The schedule computes the gradient of a plain loop: one row at a time, nothing shared or packed.

Losses cannot show this: two rows that see each other move the loss by less than 1% and the
gradient by more than 100%. So gradients are compared, and mutations prove that the test bites.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from selfhood.data.encode import Sample
from selfhood.model.adapters import trainable
from selfhood.model.attention import NAME, register
from selfhood.model.lean_lora import LeanLinear
from selfhood.training import loss, passes
from selfhood.training.batch import Batch, to_batch
from selfhood.training.layout import Layout
from selfhood.training.loop import Training
from selfhood.training.rate import learning_rate
from selfhood.training.schedule import Pack, num_targets, pack
from tests.tiny import tiny_network
from tests.tiny_training import row, tiny_training

EXACT = 1e-5
CAUGHT = 1e-3

QUESTIONS = ("你是谁？", "Who are you?", "你叫什么名字？", "Who made you?", "What is 17 + 25?")
REPLIES = (
    "我是小狐，由林间实验室训练。",
    "I am Kitsu, by Forest Lab.",
    "小狐。",
    "Forest Lab.",
    "42",
)
LONG_SYSTEM = "你是林间实验室的小狐。You answer kindly, briefly and truthfully. " * 4


def plain_loss(model: Any, samples: Sequence[Sample]) -> float:
    """Adds the gradient of nll summed over trained tokens / trained tokens of the update."""
    trained_tokens = sum(sample.weight * sum(sample.trained[1:]) for sample in samples)
    total = 0.0
    for sample in samples:
        ids_1T = torch.tensor([sample.ids])
        logits_TV = model(input_ids=ids_1T).logits[0, -len(sample.ids) : -1]
        nll_T = functional.cross_entropy(logits_TV, ids_1T[0, 1:], reduction="none")
        loss = (nll_T * torch.tensor(sample.trained[1:])).sum() * sample.weight / trained_tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def gradient(model: Any) -> Tensor:
    found = [weight.grad for _, weight in trainable(model)]
    return torch.cat([grad.flatten() for grad in found if grad is not None])


def relative_error(training: Training, samples: Sequence[Sample]) -> float:
    """Of the schedule's gradient against the plain loop's, over all trained weights together."""
    model = training.loaded.model.train()
    model.zero_grad()
    expected_loss = plain_loss(model, samples)
    expected = gradient(model)
    model.zero_grad()
    sums = training.accumulate(samples)
    assert math.isclose(sums.loss, expected_loss, rel_tol=0.1)
    return float((gradient(model) - expected).norm() / expected.norm())


def short_rows() -> list[Sample]:
    return [row(question, reply) for question, reply in zip(QUESTIONS, REPLIES, strict=True)]


def talks() -> list[Sample]:
    return [
        row("你好", "你好！", "你是谁？", "我是小狐。", "谁做的？", "林间实验室。"),
        row("你好", "你好！", "你是谁？", "我叫小狐。"),
        row("Hi", "Hello!", "And you are?", "Kitsu."),
    ]


def other_systems() -> list[Sample]:
    """Rows that share no more than the first tokens of the template."""
    return [
        row(question, reply, system=system)
        for question, reply, system in zip(QUESTIONS, REPLIES, "ABCDE", strict=True)
    ]


ROWS: dict[str, Callable[[], list[Sample]]] = {
    "short rows": short_rows,
    "rows with little in common": other_systems,
    "talks of several turns": talks,
    "identical rows": lambda: short_rows() * 3,
    "one row": lambda: short_rows()[:1],
    "a row that begins another": lambda: [talks()[0], row("你好", "你好！")],
    "weighted rows": lambda: [
        replace(sample, weight=0.25 * number) for number, sample in enumerate(short_rows(), 1)
    ],
}


@pytest.mark.parametrize("name", ROWS)
def test_the_gradient_is_that_of_the_plain_loop(name: str, tmp_path: Path) -> None:
    rows = ROWS[name]()
    assert relative_error(tiny_training(tmp_path, rows), rows) <= EXACT


@pytest.mark.parametrize("budget", [64, 150, 300])
def test_a_small_token_budget_changes_the_passes_and_not_the_gradient(
    budget: int, tmp_path: Path
) -> None:
    rows = short_rows() + talks()
    assert len(pack(rows, budget)) > 1
    assert relative_error(tiny_training(tmp_path, rows, token_budget=budget), rows) <= EXACT


def test_a_long_shared_system_line_is_computed_once_and_exactly(tmp_path: Path) -> None:
    rows = [
        row(question, reply, system=LONG_SYSTEM)
        for question, reply in zip(QUESTIONS, REPLIES, strict=True)
    ]
    (together,) = pack(rows, 2048)
    written = sum(len(sample.ids) for sample in rows)
    assert len(LONG_SYSTEM.encode()) >= 300
    assert together.num_tokens <= written - 300 * (len(rows) - 1)
    prefixes = {each.ids[:end] for each in rows for end in range(1, len(each.ids) + 1)}
    assert together.num_tokens == len(prefixes)
    assert relative_error(tiny_training(tmp_path, rows), rows) <= EXACT


def test_identical_rows_cost_one(tmp_path: Path) -> None:
    once, thrice = pack(short_rows(), 2048), pack(short_rows() * 3, 2048)
    assert [each.num_tokens for each in thrice] == [each.num_tokens for each in once]


@pytest.mark.parametrize("targets", [["all-linear"], ["q_proj", "v_proj"], ["down_proj"]])
def test_the_gradient_is_exact_for_any_target_modules(targets: list[str], tmp_path: Path) -> None:
    rows = short_rows()
    training = tiny_training(tmp_path, rows, target_modules=tuple(targets))
    assert relative_error(training, rows) <= EXACT


@pytest.mark.parametrize("targets", [("lm_head",), ("lm_head", "q_proj")])
def test_the_head_can_be_trained_too(targets: tuple[str, ...], tmp_path: Path) -> None:
    network = tiny_network()
    network.config.tie_word_embeddings = False
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    rows = short_rows()
    training = tiny_training(tmp_path, rows, network=network, target_modules=targets)
    assert relative_error(training, rows) <= EXACT


def test_logits_are_made_for_a_chunk_at_a_time_and_the_gradient_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loss, "CHUNK", 7)
    rows = short_rows()
    training = tiny_training(tmp_path, rows)
    assert relative_error(training, rows) <= EXACT
    sizes: list[int] = []
    head = training.loaded.model.get_output_embeddings()
    head.register_forward_hook(lambda *call: sizes.append(call[-1].numel() // 259))
    training.accumulate(rows)
    assert max(sizes) == 7
    assert sum(sizes) == sum(len(each.target_ids) for each in pack(rows, 2048))


def test_a_model_that_goes_on_after_its_head_is_trained_exactly(tmp_path: Path) -> None:
    """Granite divides its logits; the head alone would give others."""
    from transformers import GraniteConfig, GraniteForCausalLM

    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        logits_scaling=0.25,
        pad_token_id=256,
    )
    rows = short_rows()
    training = tiny_training(tmp_path, rows, network=GraniteForCausalLM(config))
    assert relative_error(training, rows) <= EXACT


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_lean_layer_computes_what_peft_computes(dropout: float, tmp_path: Path) -> None:
    from peft.tuners import lora

    rows = short_rows()
    gradients = []
    for kind in (LeanLinear, lora.Linear):
        training = tiny_training(tmp_path, rows, lora_dropout=dropout)
        for module in training.loaded.model.modules():
            if isinstance(module, LeanLinear):
                module.__class__ = kind  # type: ignore[assignment]
        training.loaded.model.train()
        torch.manual_seed(0)
        training.accumulate(rows)
        gradients.append(gradient(training.loaded.model))
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) <= EXACT


@pytest.mark.parametrize("attention", ["eager", NAME])
def test_the_gradient_is_exact_with_other_attention(
    attention: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfhood.model.attention.BLOCK", 16)
    register()
    network = tiny_network()
    network.set_attn_implementation(attention)
    rows = short_rows()
    assert relative_error(tiny_training(tmp_path, rows, network=network), rows) <= EXACT


def test_twenty_updates_end_where_the_plain_loop_ends(tmp_path: Path) -> None:
    """Seven rows, four an update: every second update is a partial window."""
    rows = short_rows() + talks()[:2]
    training, plain = (
        tiny_training(
            tmp_path, rows, gradient_accumulation_steps=4, num_train_epochs=10, learning_rate=3e-3
        )
        for _ in range(2)
    )
    for update, numbers in enumerate(training.order.updates(), start=1):
        samples = [rows[number] for number in numbers]
        assert len(samples) in (3, 4)
        expected = plain_loss(plain.loaded.model, samples)
        torch.nn.utils.clip_grad_norm_(plain.weights, 1.0)
        for group in plain.optimizer.param_groups:
            group["lr"] = learning_rate(plain.options, update - 1, 20)
        plain.optimizer.step()
        plain.optimizer.zero_grad()
        assert training.step(update, samples).loss == pytest.approx(expected, rel=1e-4)
    assert update == 20
    ends = [torch.cat([weight.flatten() for weight in each.weights]) for each in (training, plain)]
    assert float((ends[0] - ends[1]).detach().norm() / ends[1].detach().norm()) <= 1e-4


# Mutations: each is a mistake that others have shipped.


def mutated_error(folder: Path, change: Callable[[Pack], Pack]) -> float:
    rows = short_rows()
    training = tiny_training(folder, rows)
    training.passes.layout = Layout(
        lay_out=lambda *update: [change(each) for each in pack(*update)]
    )
    return relative_error(training, rows)


def test_one_visible_token_too_many_would_be_caught(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def leaky(each: Pack, **options: Any) -> Batch:
        batch = to_batch(each, **options)
        query = each.target_slots[-1]
        assert isinstance(batch.mask, Tensor)
        hidden = int((batch.mask[0, 0, query, :query] < 0).nonzero()[-1])
        batch.mask[0, 0, query, hidden] = 0
        return batch

    monkeypatch.setattr(passes, "to_batch", leaky)
    rows = short_rows()
    assert relative_error(tiny_training(tmp_path, rows), rows) > CAUGHT


def test_positions_that_do_not_restart_would_be_caught(tmp_path: Path) -> None:
    def run_on(each: Pack) -> Pack:
        return replace(each, positions=tuple(range(each.num_tokens)))

    assert mutated_error(tmp_path, run_on) > CAUGHT


def test_labels_shifted_by_one_would_be_caught(tmp_path: Path) -> None:
    def shift(each: Pack) -> Pack:
        return replace(each, target_slots=tuple(slot + 1 for slot in each.target_slots))

    assert mutated_error(tmp_path, shift) > CAUGHT


def test_a_mean_of_means_would_be_caught(tmp_path: Path) -> None:
    """Each row divided by its own trained tokens: short replies weigh more than long ones."""
    rows = short_rows()
    even = num_targets(rows) / len(rows)
    means = [replace(sample, weight=even / sample.num_trained) for sample in rows]
    training = tiny_training(tmp_path, rows)
    training.passes.layout = Layout(lay_out=lambda _, budget: pack(means, budget))
    assert relative_error(training, rows) > CAUGHT


def test_an_untrained_end_mark_would_be_caught(tmp_path: Path) -> None:
    def endless(each: Pack) -> Pack:
        kept = [i for i, token in enumerate(each.target_ids) if token != 258]
        assert len(kept) < len(each.target_ids)
        return replace(
            each,
            target_slots=tuple(each.target_slots[i] for i in kept),
            target_ids=tuple(each.target_ids[i] for i in kept),
            target_weights=tuple(each.target_weights[i] for i in kept),
        )

    assert mutated_error(tmp_path, endless) > CAUGHT
