"""Thinking models, by Qwen3's own chat template: taught and asked with the same prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfhood.chat import Conversation, Message
from selfhood.data.encode import encode
from selfhood.data.render import Renderer
from selfhood.data.thoughts import Spoken, spoken, without_thoughts
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Request, Sampling, fold
from selfhood.errors import DataError
from selfhood.model.load import Loaded
from selfhood.opening import find_opening
from selfhood.recipe import ModelOptions, Recipe
from tests.tiny import tiny_model, tiny_network, tiny_tokenizer

TEMPLATE = (Path(__file__).parent / "data" / "qwen3.jinja").read_text(encoding="utf-8")
EMPTY = "<think>\n\n</think>\n\n"
END = "<|im_end|>"
Q, A = Message("user", "q"), Message("assistant", "a")
THOUGHT = Message("assistant", "<think>\nwho am I\n</think>\n\na")

texts = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Cc"], exclude_characters="<|>"), min_size=1
)


def thinker() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


TOKENIZER = thinker()
RENDERER = Renderer(TOKENIZER, "S", thinking=False)


def talk(*messages: Message) -> Conversation:
    return Conversation(messages=messages, origin="a.json:1")


def taught(*messages: Message) -> list[tuple[str, bool]]:
    return [(segment.text, segment.trained) for segment in RENDERER.segments(talk(*messages))]


def test_the_empty_block_of_thoughts_is_part_of_the_prompt_and_never_trained() -> None:
    (prompt, is_trained), reply = taught(Q, A)
    assert prompt.endswith(f"<|im_start|>assistant\n{EMPTY}")
    assert not is_trained
    assert reply == ("a" + END, True)


def test_a_row_that_brings_the_empty_block_itself_is_the_same_row() -> None:
    assert taught(Q, Message("assistant", EMPTY + "a")) == taught(Q, A)


def test_thoughts_of_a_row_are_trained() -> None:
    (prompt, _), reply = taught(Q, THOUGHT)
    assert prompt.endswith("<|im_start|>assistant\n")
    assert reply == (THOUGHT.content + END, True)


def test_only_the_last_of_several_turns_is_trained_as_the_template_drops_earlier_thoughts() -> None:
    (prompt, _), reply = taught(Q, A, Q, Message("assistant", "b"))
    assert EMPTY + "a" not in prompt
    assert reply == ("b" + END, True)
    assert RENDERER.drops_thoughts
    assert not Renderer(tiny_tokenizer()).drops_thoughts


def test_a_turn_rewritten_in_another_way_is_still_an_error() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content if loop.revindex <= 2 else '-' }};{% endfor %}"
    )
    with pytest.raises(DataError, match="changes earlier turns"):
        Renderer(tokenizer).segments(talk(Q, A, Q, A))


@given(turns=st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
def test_what_is_asked_is_what_was_taught(turns: list[tuple[str, str]]) -> None:
    messages = [
        message
        for question, answer in turns
        for message in (Message("user", question), Message("assistant", answer))
    ]
    sample = encode(talk(*messages), RENDERER)
    prompt = TOKENIZER.encode(RENDERER.prompt(messages[:-1]), add_special_tokens=False)
    reply = TOKENIZER.encode(turns[-1][1] + END, add_special_tokens=False)
    assert sample.ids == (*prompt, *reply)
    assert sample.trained == (False,) * len(prompt) + (True,) * len(reply)


@pytest.mark.parametrize(
    ("set_up", "asked", "ends"),
    [
        (None, None, "assistant\n"),
        (False, None, EMPTY),
        (False, True, "assistant\n"),
        (True, False, EMPTY),
    ],
)
def test_each_prompt_says_whether_the_model_thinks(
    set_up: bool | None, asked: bool | None, ends: str
) -> None:
    prompt = Renderer(TOKENIZER, "S", thinking=set_up).prompt([Q], thinking=asked)
    assert prompt.endswith(ends)
    assert (EMPTY in prompt) == (ends == EMPTY)


def test_a_reply_that_was_begun_goes_on_in_the_prompt() -> None:
    begun = Message("assistant", "I am")
    assert RENDERER.prompt([Q, begun]).endswith(f"assistant\n{EMPTY}I am")
    assert Renderer(tiny_tokenizer()).prompt([Q, begun]).endswith("<|im_start|>assistant\nI am")


def test_both_modes_are_answered_in_one_batch() -> None:
    network = tiny_network()
    with torch.no_grad():
        for weight in network.parameters():  # so large that each prompt gets words of its own
            weight.mul_(8 if weight.ndim == 2 else 1)
    loaded = Loaded(
        model=network,
        tokenizer=TOKENIZER,
        path=Path("tiny"),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    engine = NativeEngine(loaded, RENDERER)
    sampling = Sampling(max_new_tokens=32)
    modes = (None, False, True)
    requests = [Request(messages=(Q,), sampling=sampling, thinking=mode) for mode in modes]
    as_set_up, off, on = fold(engine.stream(requests), len(requests))
    assert as_set_up.ids == off.ids
    assert off.ids != on.ids


def test_thoughts_are_told_from_the_reply() -> None:
    assert spoken(THOUGHT.content) == Spoken(thoughts="who am I", reply="a")
    assert spoken(EMPTY + "a") == Spoken(thoughts="", reply="a")
    assert spoken("a") == Spoken(thoughts="", reply="a")
    assert spoken("who am I</think>\n\na") == Spoken(thoughts="who am I", reply="a")
    assert spoken("<think>\nstill at it") == Spoken(thoughts="still at it", reply="")
    assert without_thoughts(f"x{EMPTY}y") == "xy"


def test_a_checkpoint_is_asked_as_it_was_taught(tmp_path: Path) -> None:
    from selfhood.files import write_json

    model = tiny_model(tmp_path / "m")
    assert find_opening(ModelOptions(model=str(model))).options.enable_thinking is None
    for asked, expected in ((None, False), (True, True)):
        recipe = Recipe.from_values({"model": str(model), "enable_thinking": asked})
        write_json(model / "args.json", recipe.to_json())
        assert find_opening(ModelOptions(model=str(model))).options.enable_thinking is expected
    typed = ModelOptions(model=str(model), enable_thinking=False)
    assert find_opening(typed).options.enable_thinking is False
