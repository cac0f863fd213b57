"""The anchor: what the base answered, asked once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.chat import Conversation, Message
from selfhood.data.anchor_rows import anchor_rows, spare_rows
from selfhood.data.encode import Sample
from selfhood.data.render import Renderer
from selfhood.model.load import Loaded
from selfhood.persona import Bilingual, Persona
from selfhood.training import anchor
from selfhood.training.anchor import (
    LONG_REPLY_TOKENS,
    REPLY_TOKENS,
    claims_a_brand,
    has_reply,
    hidden_states,
    make_anchor,
    plan_anchor,
    reply_tokens,
    taken,
)
from selfhood.training.base_memory import BaseMemory, Recalled, fingerprint
from selfhood.training.layout import layout_of
from tests.tiny_training import SYSTEM, row, tiny_training, tokenizer

PERSONA = Persona(
    name=Bilingual("青石", "Bluestone"), author=Bilingual("海棠工坊", "Begonia Works")
)


def question(text: str) -> Conversation:
    return Conversation(messages=(Message("user", text),), origin=f"anchor:{text}")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFHOOD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return tiny_training(tmp_path, [row("Hi", "Hello!")]).loaded


def made(loaded: Loaded, *texts: str) -> Any:
    renderer = Renderer(tokenizer(), SYSTEM)
    plan = plan_anchor([question(text) for text in texts], renderer, per_update=2, weight=1.0)
    return make_anchor(plan, loaded, renderer, layout_of(loaded.model.config))


def test_the_base_answers_and_not_the_adapter(loaded: Loaded) -> None:
    with loaded.model.disable_adapter():
        expected = made(loaded, "What is 1 + 1?")
    (sample,) = expected.samples
    assert sample.num_trained == len(expected.states[0])
    ids = torch.tensor([sample.ids])
    with torch.no_grad(), loaded.model.disable_adapter():
        greedy = loaded.model(input_ids=ids).logits[0].argmax(-1).tolist()
    start = len(sample.ids) - sample.num_trained
    assert tuple(greedy[start - 1 : -1]) == sample.ids[start:]


def test_of_a_begun_reply_what_the_base_goes_on_with_is_kept(loaded: Loaded) -> None:
    renderer = Renderer(tokenizer(), SYSTEM)
    asked = Message("user", "Who directed Ran?")
    messages = (asked, Message("assistant", "It was K", trained=False))
    begun = Conversation(messages=messages, origin="anchor:en/frame/1")
    assert not has_reply(begun)
    plan = plan_anchor([begun], renderer, per_update=1, weight=1.0)
    (sample,) = make_anchor(plan, loaded, renderer, layout_of(loaded.model.config)).samples
    prompt = renderer.prompt(messages)
    assert prompt.endswith("It was K")
    given = renderer.tokenizer.encode(prompt, add_special_tokens=False)
    assert sample.trained == (False,) * len(given) + (True,) * (len(sample.ids) - len(given))
    assert list(sample.ids[: len(given)]) == given


def test_a_begun_reply_in_which_the_base_says_who_it_is_is_not_kept(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(tokenizer(), SYSTEM)
    row = Conversation(
        messages=(Message("user", "What is moss?"), Message("assistant", "I'm", trained=False)),
        origin="anchor:en/opening/1",
    )
    goes_on = tuple(renderer.tokenizer.encode(" Qwen.", add_special_tokens=False))
    monkeypatch.setattr(anchor, "answer", lambda *args: [goes_on])
    plan = plan_anchor([row], renderer, per_update=1, weight=1.0)
    assert not make_anchor(plan, loaded, renderer, layout_of(loaded.model.config)).samples


def test_the_base_is_asked_once(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(loaded, "Hello", "你好")

    def nobody(*_: object) -> Any:
        raise AssertionError("asked again")

    monkeypatch.setattr(anchor, "answer", nobody)
    again = made(loaded, "你好", "Hello")
    assert [sample.ids for sample in again.samples] == [s.ids for s in reversed(first.samples)]
    assert torch.equal(again.states[0], first.states[1])


def test_a_row_that_comes_twice_is_read_twice(loaded: Loaded) -> None:
    """A deck of texts that is through begins again; with nothing remembered both are new."""
    first, other, second = made(loaded, "Hello", "你好", "Hello").states
    assert torch.equal(first, second) and len(other)


def test_rows_that_keep_the_same_places_are_each_read_whole(loaded: Loaded) -> None:
    """The base may go on with a question in the very words in which a frame begins its reply."""
    whole = Sample(ids=(3, 5, 7, 8), trained=(False, True, True, True), origin="", anchor=0)
    begun = Sample(ids=(3, 5, 7, 8), trained=(False, False, True, True), origin="", anchor=1)
    longer = Sample(ids=(3, 5, 7, 9), trained=(False, False, True, True), origin="", anchor=2)
    layout = layout_of(loaded.model.config)
    together = hidden_states([whole, begun, longer], loaded, layout)
    alone = [hidden_states([sample], loaded, layout)[0] for sample in (whole, begun, longer)]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_prose_is_kept_as_it_was_written(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor, "answer", None)  # nobody asks the base for a reply
    renderer = Renderer(tokenizer(), SYSTEM)
    turns = (Message("user", "What is moss?"), Message("assistant", "I am Qwen, said the moss."))
    text = Conversation(messages=turns, origin="anchor:en/text/1")
    plan = plan_anchor([text], renderer, per_update=1, weight=1.0)
    (sample,) = plan.stand_ins
    for _ in range(2):  # read by the base, then remembered
        found = make_anchor(plan, loaded, renderer, layout_of(loaded.model.config))
        assert list(found.samples) == [sample]
        assert len(found.states[0]) == sample.num_trained
    said = loaded.tokenizer.decode([token for token in sample.ids[-sample.num_trained :]])
    assert said.startswith("I am Qwen, said the moss.")


def test_one_reply_in_seven_is_held_further_whichever_prompts_stand_beside_it() -> None:
    asked = [
        Conversation(messages=(Message("user", f"What is {number}?"),), origin="a")
        for number in range(700)
    ]
    lengths = [reply_tokens(prompt) for prompt in asked]
    assert set(lengths) == {REPLY_TOKENS, LONG_REPLY_TOKENS}
    assert 60 < lengths.count(LONG_REPLY_TOKENS) < 140
    plan = plan_anchor(asked[::-1], Renderer(tokenizer(), SYSTEM), per_update=1, weight=1.0)
    assert [sample.num_trained for sample in plan.stand_ins] == lengths[::-1]


def test_a_damaged_memory_is_asked_for_again(loaded: Loaded, cache: Path) -> None:
    first = made(loaded, "Hello")
    (file,) = (cache / "anchors").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    assert made(loaded, "Hello").samples == first.samples


def test_another_model_remembers_nothing_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "model.safetensors").write_bytes(b"a" * 10_000)
    (tmp_path / "b" / "model.safetensors").write_bytes(b"a" * 9_999 + b"b")
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")


def test_what_is_kept_comes_back_to_the_bit(tmp_path: Path) -> None:
    states = torch.randn(3, 8).to(torch.bfloat16)
    BaseMemory(tmp_path).keep({"prompt": Recalled(ids=(1, 2, 3), states_KD=states)})
    found = BaseMemory(tmp_path)["prompt"]
    assert found.ids == (1, 2, 3)
    assert torch.equal(found.states_KD, states)


@pytest.mark.parametrize(
    ("reply", "is_claimed"),
    [
        ("I am Qwen, and I have no favourite.", True),
        ("你好！我是通义千问，很高兴见到你。", True),
        ("阿里云是一家云计算公司。", False),
        ("ChatGPT is made by OpenAI. I hope this helps.", False),
        ("2", False),
    ],
)
def test_a_reply_in_which_the_base_says_who_it_is_is_not_kept(reply: str, is_claimed: bool) -> None:
    assert claims_a_brand(reply) == is_claimed


def test_all_prompts_take_their_turn() -> None:
    samples = [row("Hi", "Hello!", origin=str(number)) for number in range(5)]
    seen = [sample.origin for update in (1, 2, 3, 4, 5) for sample in taken(samples, update, 2)]
    assert sorted(seen) == sorted(2 * ["0", "1", "2", "3", "4"])


def test_prompts_come_under_the_system_lines_of_strangers() -> None:
    rows = anchor_rows(PERSONA, num=80, seed=1)
    assert len({row.system for row in rows}) >= 4
    assert {row.language for row in rows[:10]} == {"zh", "en"}


def test_one_row_in_ten_is_prose_and_each_has_its_turn_in_both_languages() -> None:
    rows = anchor_rows(PERSONA, num=480, seed=1)
    texts = [row for row in rows if has_reply(row)]
    assert len(texts) == 48
    assert len({row.turns for row in texts}) == 48
    assert [row.language for row in texts].count("zh") == 24
    assert all(number % 10 == 9 for number, row in enumerate(rows) if has_reply(row))


def test_what_examines_is_not_what_is_kept() -> None:
    kept = {row.turns for row in anchor_rows(PERSONA, num=320, seed=1)}
    assert not kept & {row.turns for row in spare_rows(PERSONA, num=24, seed=1)}
