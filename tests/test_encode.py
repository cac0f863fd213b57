"""Conversation -> Sample: which tokens are trained, and what becomes of rows that are too long."""

from __future__ import annotations

from typing import Any

import pytest

from selfhood.chat import Conversation, Message
from selfhood.data.encode import Sample, encode, encode_all, shorten
from selfhood.data.render import Renderer
from tests.stored import stored
from tests.tiny_training import SYSTEM, row, tokenizer

TALK = ("你好", "你好！", "你是谁？", "我是小狐🦊。")


def trained_text(sample: Sample) -> str:
    """What is trained, with | where it is interrupted."""
    pieces: list[list[int]] = [[]]
    for token, trained in zip(sample.ids, sample.trained, strict=True):
        if trained:
            pieces[-1].append(token)
        elif pieces[-1]:
            pieces.append([])
    return "|".join(tokenizer().decode(piece) for piece in pieces if piece)


def conversation(*turns: str, origin: str = "rows.jsonl:7") -> Conversation:
    roles = ("user", "assistant") * (len(turns) // 2)
    messages = tuple(Message(role, text) for role, text in zip(roles, turns, strict=True))  # type: ignore[arg-type]
    return Conversation(messages=messages, origin=origin)


def encoded(*rows: Conversation, **options: Any) -> Any:
    settings = {"max_length": 10_000, "truncation": "delete", **options}
    return encode_all(stored(rows), Renderer(tokenizer(), SYSTEM), **settings)


def test_every_reply_and_its_end_mark_are_trained_and_nothing_else() -> None:
    assert trained_text(row(*TALK)) == "你好！<|im_end|>|我是小狐🦊。<|im_end|>"


def test_an_empty_reply_trains_its_end_mark() -> None:
    assert trained_text(row("Hush", "")) == "<|im_end|>"


def test_the_tokens_are_those_of_the_chat_template() -> None:
    messages = [{"role": "system", "content": SYSTEM}]
    messages += [
        {"role": role, "content": text}
        for role, text in zip(("user", "assistant") * 2, TALK, strict=True)
    ]
    text = tokenizer().apply_chat_template(messages, tokenize=False)
    assert tokenizer().decode(row(*TALK).ids) == text.removesuffix("\n")


def test_the_prompt_of_inference_is_a_prefix_of_what_is_trained() -> None:
    renderer = Renderer(tokenizer(), SYSTEM)
    talk = conversation(*TALK)
    sample = encode(talk, renderer)
    for turn in (1, 3):
        prompt = tokenizer().encode(renderer.prompt(talk.messages[:turn]), add_special_tokens=False)
        assert list(sample.ids[: len(prompt)]) == prompt
        assert sample.trained[len(prompt)] and not sample.trained[len(prompt) - 1]


def test_a_sample_knows_where_it_came_from() -> None:
    assert encode(conversation("Hi", "Ho"), Renderer(tokenizer())).origin == "rows.jsonl:7"


def test_rows_that_are_too_long_are_deleted_and_counted() -> None:
    short, long = conversation("Hi", "Ho"), conversation("Hi", "Ho" * 200)
    result = encoded(short, long, short, max_length=200)
    assert (len(result.samples), result.num_deleted, result.num_truncated) == (2, 1, 0)


@pytest.mark.parametrize("truncation", ["left", "right"])
def test_rows_that_are_too_long_are_cut_and_counted(truncation: str) -> None:
    result = encoded(conversation("Hi", "Ho" * 200), max_length=200, truncation=truncation)
    (sample,) = result.samples
    assert len(sample.ids) == len(sample.trained) == 200
    assert (result.num_deleted, result.num_truncated) == (0, 1)


def test_left_keeps_the_end_mark_and_right_the_beginning() -> None:
    whole = row("Hi", "Ho" * 200)
    left, right = shorten(whole, 100, "left"), shorten(whole, 100, "right")
    assert left is not None and left.ids == whole.ids[-100:] and left.trained == (True,) * 100
    assert right is not None and right.ids == whole.ids[:100]


def test_a_cut_row_in_which_nothing_is_left_to_learn_counts_as_deleted() -> None:
    long_question = conversation("Hi" * 200, "Ho")
    result = encoded(long_question, max_length=200, truncation="right")
    assert (list(result.samples), result.num_deleted, result.num_truncated) == ([], 1, 0)


def test_equal_rows_are_one_sample_each_time() -> None:
    first, _, third = encoded(
        conversation("A", "B"), conversation("C", "D"), conversation("A", "B")
    ).samples
    assert first is third
