"""One batch that never ends: who joins and leaves it, who speaks in it, and what it keeps."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.chat import Message
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Passage, Request, Sampling, fold
from selfhood.errors import InputError
from selfhood.model.adapters import load_adapter
from tests.test_engine import ask, replies, texts
from tests.test_speakers import KINDS, PROMPTS, QUESTIONS, engine_of, loud_network, trained
from tests.tiny_training import tokenizer

LONG = "Tell me a long story about a fox in the woods"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        name: trained("lora", root / name, scale=scale)
        for name, scale in {"fox": 1.0, "owl": 0.6, "hen": -0.8}.items()
    }


@pytest.fixture
def engine(folders: dict[str, Path]) -> NativeEngine:
    engine = engine_of(loud_network())
    for name, folder in folders.items():
        engine.add_speaker(name, folder)
    return engine


class Counting:
    """A reader that notes how many tokens each pass reads."""

    def __init__(self, engine: NativeEngine) -> None:
        self.passes: list[list[int]] = []
        self._reader: Any = engine._reader
        engine._reader = self

    def new_cache(self, adapter: str | None) -> Any:
        return self._reader.new_cache(adapter)

    def read(self, pieces: Any, num_last: int = 1) -> Any:
        self.passes.append([len(piece.ids) for piece in pieces])
        return self._reader.read(pieces, num_last)


# Who speaks.


def test_any_mix_of_identities_in_one_batch_says_what_each_says_alone(engine: NativeEngine) -> None:
    speakers = (None, "fox", "owl", "hen", "fox", None)
    requests = [
        request
        for question in QUESTIONS
        for name in speakers
        for request in ask(question, adapter=name, max_new_tokens=24)
    ]
    alone = [texts(engine, [request])[0] for request in requests]
    assert len(set(alone)) > len(QUESTIONS)
    assert texts(engine, requests) == alone


@pytest.mark.parametrize("name", [None, "fox", "owl"])
def test_chances_in_a_mixed_batch_are_those_of_the_adapter_alone(
    engine: NativeEngine, folders: dict[str, Path], name: str | None
) -> None:
    requests = [
        ask(question, adapter=other, max_new_tokens=8, num_logprobs=0)[0]
        for question in QUESTIONS
        for other in (None, "fox", "owl", "hen")
    ]
    mixed = replies(engine, requests)
    peft_alone = loud_network()
    if name is not None:
        peft_alone = load_adapter(peft_alone, folders[name])
    for request, reply in zip(requests, mixed, strict=True):
        if request.adapter != name:
            continue
        prompt = tokenizer().encode(
            engine.renderer.prompt(request.messages), add_special_tokens=False
        )
        with torch.no_grad():
            logits = peft_alone(torch.tensor([[*prompt, *reply.ids]])).logits[0]
        expected = logits.log_softmax(dim=-1)[len(prompt) - 1 :]
        for row, token, chance in zip(expected, reply.ids, reply.chances, strict=False):
            assert chance.logprob == pytest.approx(float(row[token]), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_may_share_a_batch_with_the_base(kind: str, tmp_path: Path) -> None:
    engine = engine_of(load_adapter(loud_network(), trained(kind, tmp_path)))
    requests = [
        request
        for question in QUESTIONS
        for name in ("default", None)
        for request in ask(question, adapter=name, max_new_tokens=12)
    ]
    alone = [texts(engine, [request])[0] for request in requests]
    assert texts(engine, requests) == alone


# Who joins and leaves.


def test_threads_that_ask_at_once_share_their_passes(engine: NativeEngine) -> None:
    alone = {
        (name, question): texts(engine, ask(question, adapter=name, max_new_tokens=24))[0]
        for name in (None, "fox", "owl", "hen")
        for question in QUESTIONS
    }
    counting = Counting(engine)
    said: dict[Any, str] = {}
    start = threading.Barrier(len(alone))

    def talk(name: str | None, question: str) -> None:
        start.wait()
        said[name, question] = texts(engine, ask(question, adapter=name, max_new_tokens=24))[0]

    threads = [threading.Thread(target=talk, args=key) for key in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert said == alone
    assert len(counting.passes) < 24 * len(alone) / 4


def test_a_request_joins_while_another_is_answered(engine: NativeEngine) -> None:
    (late_alone,) = texts(engine, ask("Hi", max_new_tokens=8))
    early = engine.stream(ask(LONG, max_new_tokens=60))
    first = next(early)
    assert texts(engine, ask("Hi", max_new_tokens=8)) == [late_alone]
    rest = fold(early, 1)[0]
    assert rest.num_tokens == 60 and first.text


def test_who_closes_the_stream_is_not_read_for_any_more(engine: NativeEngine) -> None:
    counting = Counting(engine)
    gone = engine.stream(ask(LONG, max_new_tokens=200))
    next(gone)
    gone.close()  # type: ignore[attr-defined]
    before = len(counting.passes)
    (reply,) = replies(engine, ask("Hi", max_new_tokens=6))
    after = counting.passes[before:]
    assert len(after) == reply.num_tokens and all(len(each) == 1 for each in after)


def test_a_failing_pass_fails_every_request_in_it_and_no_later_one(engine: NativeEngine) -> None:
    whole = texts(engine, ask("Hi"))
    reader: Any = engine._reader

    class Broken:
        new_cache = reader.new_cache

        def read(self, pieces: Any, num_last: int = 1) -> Any:
            raise RuntimeError("out of memory")

    engine._reader = Broken()
    with pytest.raises(RuntimeError, match="out of memory"):
        list(engine.stream(ask("Hi", "?")))
    engine._reader = reader
    assert texts(engine, ask("Hi")) == whole


# What is read once.


def test_a_beginning_that_all_prompts_share_is_read_once(engine: NativeEngine) -> None:
    counting = Counting(engine)
    questions = [f"{LONG}, number {number}" for number in range(6)]
    alone = [texts(engine_of(loud_network()), ask(text, max_new_tokens=4))[0] for text in questions]
    assert texts(engine, ask(*questions, max_new_tokens=4)) == alone
    (longest, *_) = [
        len(tokenizer().encode(engine.renderer.prompt((Message("user", text),))))
        for text in questions
    ]
    read = sum(sum(each) for each in counting.passes)
    assert read < longest + 6 * (20 + 4)


def test_a_talk_that_goes_on_reads_only_what_is_new(engine: NativeEngine) -> None:
    first = ask(LONG, max_new_tokens=12, adapter="fox")[0]
    (reply,) = replies(engine, [first])
    history = (*first.messages, Message("assistant", reply.text), Message("user", "And then?"))
    second = Request(messages=history, sampling=first.sampling, adapter="fox")
    (fresh,) = replies(engine_with(engine, "fox"), [second])
    counting = Counting(engine)
    assert replies(engine, [second])[0].text == fresh.text
    new = engine.renderer.prompt(history)[len(engine.renderer.prompt(first.messages)) :]
    assert sum(counting.passes[0]) <= len(tokenizer().encode(new)) + 12


def engine_with(engine: NativeEngine, name: str) -> NativeEngine:
    """Another engine on the same model, which has read nothing yet."""
    assert name in engine.speakers
    return NativeEngine(engine.loaded, engine.renderer)


def test_nobody_goes_on_from_what_another_identity_has_read(engine: NativeEngine) -> None:
    question = ask(LONG, max_new_tokens=8)[0]
    alone = texts(engine_with(engine, "owl"), ask(LONG, max_new_tokens=8, adapter="owl"))
    replies(engine, [question])
    assert texts(engine, ask(LONG, max_new_tokens=8, adapter="owl")) == alone


# How much is held.


def test_caches_stay_within_their_bound_and_everybody_is_answered(engine: NativeEngine) -> None:
    small = NativeEngine(engine.loaded, engine.renderer, most_rows=3, most_tokens=1)
    small._batch._most_tokens = 400
    requests = [
        ask(question, adapter=name, max_new_tokens=30)[0]
        for question in (*QUESTIONS, LONG)
        for name in (None, "fox", "owl")
    ]
    expected = texts(engine, requests)
    held = []
    deltas = []
    for delta in small.stream(requests):
        deltas.append(delta)
        held.append((small._batch.num_tokens, len(small._batch.rows)))
    assert [reply.text for reply in fold(deltas, len(requests))] == expected
    assert max(tokens for tokens, _ in held) <= 400
    assert max(rows for _, rows in held) <= 3


def test_what_is_kept_of_many_talks_counts_with_all_the_room_it_takes(
    engine: NativeEngine,
) -> None:
    small = NativeEngine(engine.loaded, engine.renderer, most_rows=2, most_tokens=1)
    small._batch._most_tokens = 1500
    for number in range(30):
        texts(small, ask(f"{number} {LONG * (number % 3 + 1)}", max_new_tokens=3))
    room = sum(
        keys.shape[1]
        for kept in small._batch._kept
        for keys, _ in [kept.cache._layers[0]]  # type: ignore[attr-defined]
    )
    assert 0 < room <= 1500


# Identities that come and go.


def test_an_adapter_can_be_added_and_taken_away_while_others_speak(
    folders: dict[str, Path],
) -> None:
    engine = engine_of(loud_network())
    base = texts(engine, ask(LONG, max_new_tokens=20))
    talking = engine.stream(ask(LONG, max_new_tokens=20))
    text = next(talking).text
    engine.add_speaker("fox", folders["fox"])
    engine.add_speaker("owl", folders["owl"])
    assert engine.speakers == ("fox", "owl")
    fox = texts(engine, ask("Hi", adapter="fox"))
    assert fox != texts(engine, ask("Hi"))
    assert [text + fold(talking, 1)[0].text] == base
    engine.remove_speaker("owl")
    engine.remove_speaker("fox")
    assert not engine.speakers
    with pytest.raises(InputError, match="no adapter is called 'fox'"):
        replies(engine, ask("Hi", adapter="fox"))
    assert texts(engine, ask(LONG, max_new_tokens=20)) == base
    engine.add_speaker("fox", folders["fox"])
    assert texts(engine, ask("Hi", adapter="fox")) == fox


def test_a_reply_begun_by_an_adapter_that_is_taken_away_is_finished(engine: NativeEngine) -> None:
    whole = texts(engine, ask(LONG, adapter="fox", max_new_tokens=20))
    talking: Iterator[Any] = engine.stream(ask(LONG, adapter="fox", max_new_tokens=20))
    text = next(talking).text
    engine.remove_speaker("fox")
    assert "fox" not in engine.speakers
    assert [text + fold(talking, 1)[0].text] == whole


def test_an_adapter_of_a_name_that_is_taken_is_refused(
    engine: NativeEngine, folders: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match="called 'fox' already"):
        engine.add_speaker("fox", folders["owl"])


def test_an_adapter_put_beside_others_is_peft_s_own(folders: dict[str, Path]) -> None:
    quick = load_adapter(load_adapter(loud_network(), folders["fox"], name="a"), folders["owl"])
    alone = load_adapter(loud_network(), folders["owl"])
    quick.set_adapter("default")
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        assert torch.equal(quick(ids).logits, alone(ids).logits)
        merged, plain = (
            each.merge_and_unload(adapter_names=["default"]) for each in (quick, alone)
        )
        assert torch.equal(merged(ids).logits, plain(ids).logits)


# What a reply may be, and how likely it was.


@pytest.mark.parametrize("seed", range(3))
def test_a_reply_that_is_to_be_json_parses_as_an_object(engine: NativeEngine, seed: int) -> None:
    (reply,) = replies(
        engine, ask("Hi", form="json", temperature=1.5, seed=seed, max_new_tokens=400)
    )
    if reply.finish == "stop":
        assert isinstance(json.loads(reply.text), dict)
    else:
        assert reply.text.startswith("{")


def test_the_chances_of_a_reply_are_told_with_its_text(engine: NativeEngine) -> None:
    (reply,) = replies(engine, ask("Hi", num_logprobs=3, max_new_tokens=12))
    assert len(reply.chances) == reply.num_tokens
    for chance in reply.chances:
        assert len(chance.others) == 3
        assert chance.logprob == chance.others[0][1] <= 0  # greedy: its own is the likeliest


@pytest.mark.parametrize("kind", ["lora", "dora", *PROMPTS])
def test_a_passage_is_weighed_as_its_tokens_would_be_said(kind: str, tmp_path: Path) -> None:
    """Said by the same speaker, token by token, after all that stands before."""
    engine = engine_of(load_adapter(loud_network(), trained(kind, tmp_path)))
    tokens = tuple(tokenizer().encode("Hello, " + "The quick brown fox. " * 8))  # several pieces
    passages = [
        Passage(prompt=tokens[:7], text=tokens[7:], adapter=name) for name in ("default", None)
    ]
    for passage, chances in zip(passages, engine.score(passages), strict=True):
        assert len(chances) == len(tokens) - 7
        for number in (0, 1, 60, len(chances) - 1):
            request = Request(
                messages=(),
                text=tokens[: 7 + number],
                sampling=Sampling(max_new_tokens=1, num_logprobs=259),
                adapter=passage.adapter,
            )
            (reply,) = replies(engine, [request])
            said = dict(reply.chances[0].others)
            token = tokenizer().decode([tokens[7 + number]])
            assert chances[number].token == token
            assert chances[number].logprob == pytest.approx(said[token], abs=1e-4)


def test_the_first_token_of_all_has_nothing_before_it_and_is_not_weighed(
    engine: NativeEngine,
) -> None:
    (whole, rest) = engine.score(
        [Passage(prompt="", text="fox", num_logprobs=2), Passage(prompt="f", text="ox")]
    )
    assert [chance.token for chance in whole] == ["o", "x"]
    assert all(len(chance.others) == 2 for chance in whole)
    assert [chance.logprob for chance in whole] == pytest.approx(
        [chance.logprob for chance in rest], abs=1e-5
    )


def test_text_as_it_stands_is_gone_on_from_without_a_template(engine: NativeEngine) -> None:
    prompt = engine.renderer.prompt((Message("user", "Hi"),))
    ids = tuple(tokenizer().encode(prompt, add_special_tokens=False))
    sampling = Sampling(max_new_tokens=8)
    requests = [
        Request(messages=(Message("user", "Hi"),), sampling=sampling),
        Request(messages=(), text=prompt, sampling=sampling),
        Request(messages=(), text=ids, sampling=sampling),
    ]
    assert len({reply.text for reply in replies(engine, requests)}) == 1
