"""Virtual tokens: the schedule's gradient is that of peft's own forward, a row at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfhood.model.adapters import attach, trainable
from selfhood.model.tuners.prompt import start_as_text
from selfhood.recipe import TunerOptions
from selfhood.training import forward
from tests.parity.test_gradient import CAUGHT, EXACT, relative_error, short_rows, talks
from tests.tiny import tiny_network
from tests.tiny_training import tiny_training

PROMPTS = ("prefix-tuning", "p-tuning", "prompt-tuning")
ROWS = short_rows() + talks()


def prompt_training(folder: Path, kind: str, **options: Any) -> Any:
    return tiny_training(folder, ROWS, tuner_type=kind, num_virtual_tokens=5, **options)


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("budget", [64, 300, 2048])
def test_the_gradient_is_that_of_the_plain_loop(kind: str, budget: int, tmp_path: Path) -> None:
    training = prompt_training(tmp_path, kind, token_budget=budget)
    assert relative_error(training, ROWS) <= EXACT


@pytest.mark.parametrize("kind", PROMPTS)
def test_one_row_alone_is_exact_too(kind: str, tmp_path: Path) -> None:
    assert relative_error(prompt_training(tmp_path, kind), ROWS[:1]) <= EXACT


@pytest.mark.parametrize("kind", PROMPTS)
def test_the_gradient_is_exact_with_eager_attention(kind: str, tmp_path: Path) -> None:
    training = prompt_training(tmp_path, kind)
    training.loaded.model.get_base_model().set_attn_implementation("eager")
    assert relative_error(training, ROWS) <= EXACT


@pytest.mark.parametrize("kind", PROMPTS)
def test_the_gradient_is_exact_where_the_model_goes_on_after_its_head(
    kind: str, tmp_path: Path
) -> None:
    training = prompt_training(tmp_path, kind, network=granite())
    assert relative_error(training, ROWS) <= EXACT


@pytest.mark.parametrize("kind", PROMPTS)
def test_virtual_tokens_are_all_that_trains(kind: str, tmp_path: Path) -> None:
    model = prompt_training(tmp_path, kind).loaded.model
    assert all(name.startswith("prompt_encoder.") for name, _ in trainable(model))


@pytest.mark.parametrize("kind", PROMPTS)
def test_positions_that_ignore_the_virtual_tokens_would_be_caught(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a prefix has no positions of its own: moved together, the rest would stay right."""
    place = "_seen_by_all" if kind == "prefix-tuning" else "_put_in_front"
    right = getattr(forward, place)

    def wrong(inputs: dict[str, Tensor], *rest: Any) -> dict[str, Tensor]:
        made: dict[str, Tensor] = right(inputs, *rest)
        made["position_ids"][:, -inputs["position_ids"].shape[1] :] -= 5
        return made

    monkeypatch.setattr(forward, place, wrong)
    assert relative_error(prompt_training(tmp_path, kind), ROWS) > CAUGHT


@pytest.mark.parametrize("kind", PROMPTS)
def test_a_virtual_token_that_one_slot_does_not_see_would_be_caught(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = forward._columns_for

    def wrong(mask: Any, num: int) -> Any:
        made = right(mask, num)
        assert isinstance(made, Tensor)
        made[0, 0, 20, 2] = torch.finfo(torch.float32).min
        return made

    monkeypatch.setattr(forward, "_columns_for", wrong)
    assert relative_error(prompt_training(tmp_path, kind), ROWS) > CAUGHT


def test_a_prefix_starts_as_the_keys_and_values_of_a_text() -> None:
    """So that the model speaks at first as it did; noise of size 1 would silence it."""
    options = TunerOptions(tuner_type="prefix-tuning", num_virtual_tokens=5)
    tuned = attach(tiny_network(), options, base="tiny", seed=0).eval()
    torch.manual_seed(3)
    start_as_text(tuned)
    torch.manual_seed(3)
    ids_1V = torch.randint(259, (1, 5))
    row_1T = torch.tensor([ROWS[0].ids])
    with torch.inference_mode():
        as_text = tiny_network()(torch.cat([ids_1V, row_1T], dim=1)).logits[:, 5:]
        assert torch.allclose(tuned(row_1T).logits, as_text, atol=1e-5)


def granite() -> nn.Module:
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
    return GraniteForCausalLM(config)
