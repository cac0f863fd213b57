"""The engine in this process: what it says, when it stops, and that no row disturbs another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.chat import Message
from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Delta, Reply, Request, Sampling, fold
from selfhood.errors import InputError
from selfhood.model.adapters import attach, load_adapter, save_weights, trainable
from selfhood.model.load import Loaded
from selfhood.recipe import TunerOptions
from tests.tiny import tiny_network
from tests.tiny_training import SYSTEM, row, tiny_training, tokenizer, wake

END = 258
TALK = {"你是谁？": "我是小狐🦊，由林间实验室训练。", "Who?": "Kitsu.", "Hush": ""}
QUESTIONS = ("Hi", "你叫什么名字？", "Tell me a long story about a fox in the woods", "?")


def engine_of(model: Any) -> NativeEngine:
    loaded = Loaded(
        model=model.eval(),
        tokenizer=tokenizer(),
        path=Path(),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return NativeEngine(loaded, Renderer(tokenizer(), SYSTEM))


def loud_network() -> Any:
    """One that can be sure of something: its logits are not all near nought."""
    network = tiny_network()
    with torch.no_grad():
        network.get_input_embeddings().weight.mul_(10)
    return network


@pytest.fixture(scope="module")
def babbler() -> NativeEngine:
    """Random weights, so large that it answers every question with other bytes."""
    network = tiny_network()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    return engine_of(network)


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> NativeEngine:
    """A tiny model that knows TALK by heart, as the adapter ``default``."""
    folder = tmp_path_factory.mktemp("speaker")
    rows = [row(question, reply) for question, reply in TALK.items()]
    training = tiny_training(
        folder,
        rows,
        network=loud_network(),
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        lora_rank=16,
        lora_alpha=32,
    )
    for update in range(1, 61):
        sums = training.step(update, rows)
    assert sums.token_acc == 1 and sums.loss < 0.1
    return engine_of(training.loaded.model)


def ask(*questions: str, adapter: str | None = None, **sampling: Any) -> list[Request]:
    drawn = Sampling(**({"max_new_tokens": 64} | sampling))
    return [
        Request(messages=(Message("user", text),), sampling=drawn, adapter=adapter)
        for text in questions
    ]


def replies(engine: NativeEngine, requests: Sequence[Request]) -> list[Reply]:
    return fold(engine.stream(requests), len(requests))


def texts(engine: NativeEngine, requests: Sequence[Request]) -> list[str]:
    return [reply.text for reply in replies(engine, requests)]


def generated(engine: NativeEngine, question: str, **options: Any) -> str:
    """What transformers' own generate says, one prompt at a time."""
    prompt = engine.renderer.prompt((Message("user", question),))
    ids = torch.tensor([tokenizer().encode(prompt, add_special_tokens=False)])
    out = engine.loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=24,
        pad_token_id=256,
        **options,
    )
    text: str = tokenizer().decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    return text.rstrip("\ufffd")  # the last character may be cut


# What it says.


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_replies_are_those_of_transformers_generate(
    babbler: NativeEngine, penalty: float
) -> None:
    requests = ask(*QUESTIONS, max_new_tokens=24, repetition_penalty=penalty)
    expected = [generated(babbler, text, repetition_penalty=penalty) for text in QUESTIONS]
    assert len(set(expected)) > 1
    assert [texts(babbler, [request])[0] for request in requests] == expected
    assert texts(babbler, requests) == expected  # left-padded to the longest prompt


def test_rows_that_end_early_leave_the_others_as_they_would_be_alone(speaker: NativeEngine) -> None:
    requests = ask("Who?", "Hush", "你是谁？", "Who?", adapter="default")
    assert texts(speaker, requests) == ["Kitsu.", "", TALK["你是谁？"], "Kitsu."]


@pytest.mark.parametrize("seed", range(4))
def test_a_sampled_reply_does_not_depend_on_its_neighbours(
    babbler: NativeEngine, seed: int
) -> None:
    drawn: dict[str, Any] = {
        "temperature": 0.8,
        "top_p": 0.9,
        "top_k": 40,
        "seed": seed,
        "max_new_tokens": 24,
    }
    requests = ask(*QUESTIONS, **drawn)
    alone = [texts(babbler, [request])[0] for request in requests]
    assert texts(babbler, requests) == alone
    assert texts(babbler, requests[::-1]) == alone[::-1]


def test_another_seed_says_something_else(babbler: NativeEngine) -> None:
    drawn = [texts(babbler, ask("Hi", temperature=1.0, seed=seed))[0] for seed in range(3)]
    assert len(set(drawn)) == 3


def test_a_talk_is_answered_with_its_history(babbler: NativeEngine) -> None:
    (request,) = ask("Hi", max_new_tokens=8)
    history = (Message("user", "A"), Message("assistant", "B"), *request.messages)
    assert texts(babbler, [replace(request, messages=history)]) != texts(babbler, [request])


# When it stops.


def test_a_reply_ends_at_the_end_mark(speaker: NativeEngine) -> None:
    (reply,) = replies(speaker, ask("Who?", adapter="default"))
    assert (reply.text, reply.num_tokens, reply.finish) == ("Kitsu.", 6, "stop")
    assert tokenizer().decode(reply.ids) == "Kitsu."


def test_a_reply_may_end_at_once(speaker: NativeEngine) -> None:
    (delta,) = speaker.stream(ask("Hush", adapter="default"))
    assert (delta.text, delta.num_tokens, delta.finish) == ("", 0, "stop")


def test_max_new_tokens_cuts_a_reply(speaker: NativeEngine) -> None:
    (reply,) = replies(speaker, ask("Who?", adapter="default", max_new_tokens=3))
    assert (reply.text, reply.num_tokens, reply.finish) == ("Kit", 3, "length")


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (("su",), "Kit"),
        (("K",), ""),
        (("tsunami",), "Kitsu."),
        (("never", "its"), "K"),
        (("tsu.", "t"), "Ki"),
        (("su.",), "Kit"),
        (("",), "Kitsu."),
    ],
)
def test_a_stop_string_ends_a_reply_and_is_not_shown(
    speaker: NativeEngine, stop: tuple[str, ...], text: str
) -> None:
    deltas = list(speaker.stream(ask("Who?", adapter="default", stop=stop)))
    assert "".join(delta.text for delta in deltas) == text
    assert deltas[-1].finish == "stop"


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (("狐🦊",), "我是小"),
        (("是小🦊", "由林"), "我是小狐🦊，"),
        (("室",), "我是小狐🦊，由林间实验"),
    ],
)
def test_nothing_of_a_stop_string_of_many_bytes_is_shown(
    speaker: NativeEngine, stop: tuple[str, ...], text: str
) -> None:
    deltas = speaker.stream(ask("你是谁？", adapter="default", stop=stop))
    assert "".join(delta.text for delta in deltas) == text


def test_a_talk_that_fills_the_context_is_refused_in_one_line(babbler: NativeEngine) -> None:
    with pytest.raises(InputError, match="the model holds 4096"):
        next(babbler.stream(ask("x" * 5000)))


# How it streams.


def test_characters_of_several_tokens_are_never_shown_half(speaker: NativeEngine) -> None:
    deltas = list(speaker.stream(ask("你是谁？", adapter="default")))
    assert "".join(delta.text for delta in deltas) == TALK["你是谁？"]
    assert all("\ufffd" not in delta.text for delta in deltas)
    assert len(deltas) >= len(TALK["你是谁？"])


def test_a_character_cut_by_max_new_tokens_is_left_out(speaker: NativeEngine) -> None:
    (reply,) = replies(speaker, ask("你是谁？", adapter="default", max_new_tokens=5))
    assert (reply.text, reply.num_tokens, reply.finish) == ("我", 5, "length")


def test_the_pieces_of_a_reply_are_the_reply_whatever_bytes_it_has(babbler: NativeEngine) -> None:
    (reply,) = replies(babbler, ask("Hi", temperature=2.0, max_new_tokens=60))
    assert "\ufffd" in reply.text
    assert reply.num_tokens == 60


def test_each_reply_has_one_last_piece(speaker: NativeEngine) -> None:
    deltas = list(speaker.stream(ask(*TALK, adapter="default")))
    ends = [delta.index for delta in deltas if delta.finish]
    assert sorted(ends) == [0, 1, 2]
    for index in range(3):
        assert [delta for delta in deltas if delta.index == index][-1].finish


# Who answers.


def test_the_base_answers_when_no_adapter_is_named(speaker: NativeEngine) -> None:
    (base,) = texts(speaker, ask("Who?"))
    assert base == texts(engine_of(loud_network()), ask("Who?"))[0]
    assert texts(speaker, ask("Who?", adapter="default")) == ["Kitsu."]


def test_two_adapters_answer_under_their_names(tmp_path: Path) -> None:
    alone: dict[str, str] = {}
    both: Any = tiny_network()
    for update, name in enumerate(("fox", "owl"), start=1):
        tuned = attach(tiny_network(), TunerOptions(), base="tiny", seed=update)
        wake(tuned)
        with torch.no_grad():
            trainable(tuned)[0][1].mul_(update * 100)
        save_weights(tuned, tokenizer(), tmp_path / name)
        alone[name] = texts(engine_of(tuned), ask("Hi", adapter="default"))[0]
        both = load_adapter(both, tmp_path / name, name=name)
    engine = engine_of(both)
    assert alone["fox"] != alone["owl"]
    for name in ("owl", "fox", "owl"):
        assert texts(engine, ask("Hi", adapter=name)) == [alone[name]]


def test_an_adapter_that_is_not_there_is_refused(
    speaker: NativeEngine, babbler: NativeEngine
) -> None:
    for engine in (speaker, babbler):
        with pytest.raises(InputError, match="nobody"):
            next(engine.stream(ask("Hi", adapter="nobody")))


# Leaving early.


def started(engine: NativeEngine, adapter: str | None) -> Iterator[Delta]:
    deltas = engine.stream(ask("Who?", adapter=adapter))
    next(deltas)
    return deltas


def test_an_engine_is_usable_after_a_reply_was_closed_early(speaker: NativeEngine) -> None:
    for adapter in (None, "default"):
        started(speaker, adapter).close()  # type: ignore[attr-defined]
        assert texts(speaker, ask("Who?", adapter="default")) == ["Kitsu."]


def test_a_reply_left_half_way_does_not_change_who_answers_next(speaker: NativeEngine) -> None:
    alone = texts(speaker, ask("Who?"))
    as_base = started(speaker, None)
    as_default = started(speaker, "default")
    assert texts(speaker, ask("Who?", adapter="default")) == ["Kitsu."]
    assert fold(as_default, 1)[0].text == "itsu."
    assert texts(speaker, ask("Who?")) == alone
    rest = fold(as_base, 1)[0].text
    assert alone[0].endswith(rest)
