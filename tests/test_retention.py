"""How far an adapter has moved its base: the same numbers that whole logits give, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.chat import Conversation, Message
from selfhood.data.encode import encode
from selfhood.data.render import Renderer
from selfhood.errors import InputError
from selfhood.evaluate.retention import Drift, PassageDrift, Retention, passages_of
from selfhood.evaluate.texts import read_evaluation_texts
from selfhood.model.adapters import attach, speaking_as
from selfhood.model.load import Loaded
from selfhood.recipe import TunerOptions
from tests.tiny import tiny_network
from tests.tiny_training import SYSTEM, tokenizer, wake

RENDERER = Renderer(tokenizer(), SYSTEM)
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "norms too": {"modules_to_save": ("all-norm",)},
    "prefix-tuning": {"tuner_type": "prefix-tuning", "num_virtual_tokens": 3},
    "p-tuning": {"tuner_type": "p-tuning", "num_virtual_tokens": 3},
}


def passage(prompt: str, reply: str) -> Conversation:
    messages = (Message("user", prompt), Message("assistant", reply))
    return Conversation(messages=messages, origin=f"texts:{prompt}")


PASSAGES = (
    passage("What is a fox?", "A small wild dog with a bushy tail."),
    passage("什么是狐狸？", "一种小型犬科动物。"),
    passage("What is a lake?", "Water, and land around it."),
)


def loaded(network: Any = None, **options: Any) -> Loaded:
    network = tiny_network() if network is None else network
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(4)  # so that its distributions are far from even
    model = attach(network, TunerOptions(**options), base="tiny", seed=0)
    return Loaded(
        model=model,
        tokenizer=tokenizer(),
        path=Path(),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def plainly(loaded: Loaded) -> Drift:
    """The same numbers from peft's own forward, one passage at a time, all logits at once."""
    parts = []
    for each in PASSAGES:
        sample = encode(each, RENDERER)
        ids_1T = torch.tensor([sample.ids])
        places = [at - 1 for at, trained in enumerate(sample.trained) if trained]
        with torch.no_grad():
            q = loaded.model.eval()(input_ids=ids_1T).logits[0, -len(sample.ids) :]
            with speaking_as(loaded.model, None):
                p = loaded.model(input_ids=ids_1T).logits[0]
        p, q = p[places].log_softmax(-1), q[places].log_softmax(-1)
        kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
        same = p.argmax(-1) == q.argmax(-1)
        parts.append(
            PassageDrift(kl=float(kl.sum()), same=float(same.sum()), num_tokens=len(places))
        )
    return Drift(passages=tuple(parts))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_divergence_that_whole_logits_give(kind: str) -> None:
    tuned = loaded(**KINDS[kind])
    wake(tuned.model)
    measured, expected = Retention(tuned, RENDERER, PASSAGES).drift(), plainly(tuned)
    assert measured.kl > 1e-3
    assert [each.num_tokens for each in measured.passages] == [
        each.num_tokens for each in expected.passages
    ]
    assert measured.agreement == expected.agreement
    for ours, theirs in zip(measured.passages, expected.passages, strict=True):
        assert ours.kl == pytest.approx(theirs.kl, rel=1e-4)


def test_an_untrained_adapter_has_moved_nothing() -> None:
    drift = Retention(loaded(), RENDERER, PASSAGES).drift()
    assert drift.kl == 0.0
    assert drift.agreement == 1.0
    reply = len("A small wild dog with a bushy tail.") + 1  # bytes, and the end mark
    assert drift.passages[0].num_tokens == reply


def test_it_can_be_asked_again_and_again_while_the_adapter_is_trained() -> None:
    tuned = loaded()
    tuned.model.train()
    retention = Retention(tuned, RENDERER, PASSAGES)
    assert retention.drift().kl == 0.0
    trainable = [name for name, each in tuned.model.named_parameters() if each.requires_grad]
    wake(tuned.model)
    first, second = retention.drift(), retention.drift()
    assert first == second
    assert first.kl > 0
    assert tuned.model.training
    assert trainable == [
        name for name, each in tuned.model.named_parameters() if each.requires_grad
    ]


def test_dropout_plays_no_part_in_it() -> None:
    tuned = loaded(lora_dropout=0.5)
    wake(tuned.model)
    tuned.model.train()
    retention = Retention(tuned, RENDERER, PASSAGES)
    assert retention.drift() == retention.drift()


def test_its_measures_name_their_units_and_their_intervals_hold_the_value() -> None:
    tuned = loaded()
    wake(tuned.model)
    kl, agreement = Retention(tuned, RENDERER, PASSAGES).drift().measures()
    assert (kl.name, kl.better, kl.unit) == ("kl", "lower", "nat/token")
    assert (agreement.name, agreement.better, agreement.unit) == ("agreement", "higher", "")
    assert kl.low <= kl.value <= kl.high
    assert agreement.low <= agreement.value <= agreement.high
    assert kl.num == agreement.num == sum(encode(p, RENDERER).num_trained for p in PASSAGES)


def test_passages_vary_not_tokens_so_two_of_them_leave_a_wide_interval() -> None:
    calm = PassageDrift(kl=0.0, same=1000, num_tokens=1000)
    wild = PassageDrift(kl=1000.0, same=0, num_tokens=1000)
    kl, _ = Drift(passages=(calm, wild)).measures()
    assert (kl.low, kl.value, kl.high) == (0.0, 0.5, 1.0)


def test_passages_with_one_prompt_are_refused() -> None:
    twins = (passage("Hi", "Hello."), passage("Hi", "Hello there."))
    with pytest.raises(InputError, match="begin alike"):
        Retention(loaded(), RENDERER, twins)


def test_a_model_trained_whole_has_no_base_below_it() -> None:
    whole = loaded(tuner_type="full")
    with pytest.raises(InputError, match="base"):
        Retention(whole, RENDERER, PASSAGES)


def test_the_bundled_passages_can_be_measured_together() -> None:
    bundled = [*passages_of(read_evaluation_texts("zh")), *passages_of(read_evaluation_texts("en"))]
    assert len(bundled) >= 48
    samples = [encode(passage, RENDERER) for passage in bundled]
    some = Retention(loaded(), RENDERER, bundled[:4]).drift()
    assert some.num_tokens == sum(sample.num_trained for sample in samples[:4])
