"""Calls of functions in a reply are told from its text, however it is cut into pieces."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfhood.chat import Call
from selfhood.serve.calls import CallReader

MANY = 100
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call>'


def read(*pieces: str, most: int = MANY) -> tuple[str, list[Call]]:
    """The text and the calls."""
    reader = CallReader(most)
    parts = [part for piece in pieces for part in reader.take(piece)]
    parts += reader.end()
    text = "".join(part for part in parts if isinstance(part, str))
    return text, [part for part in parts if isinstance(part, Call)]


def names(calls: list[Call]) -> list[str]:
    return [call.name for call in calls]


@given(cuts=st.lists(st.integers(0, 300), max_size=20))
def test_calls_are_found_wherever_a_reply_is_cut(cuts: list[int]) -> None:
    whole = f"I will look.{CALL}\n{CALL}"
    ends = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    text, calls = read(*(whole[a:b] for a, b in pairwise(ends)))
    assert text == "I will look."
    assert names(calls) == ["weather", "weather"]
    assert json.loads(calls[0].arguments) == {"city": "北京"}
    assert calls[0].id != calls[1].id


@given(text=st.text(st.sampled_from('<tool_cal>/{}"a \n'), max_size=60), cut=st.integers(0, 60))
def test_text_without_a_call_is_left_as_it_is(text: str, cut: int) -> None:
    if "<tool_call>" not in text:
        assert read(text[:cut], text[cut:]) == (text, [])


def test_text_that_cannot_begin_a_call_is_not_held_back() -> None:
    reader = CallReader(MANY)
    assert list(reader.take("a < b <tool")) == ["a < b "]
    assert list(reader.take("box>")) == ["<toolbox>"]


@pytest.mark.parametrize(
    "inside",
    ["", "no json", "[]", '"x"', '{"name": 5}', '{"arguments": {}}', "[" * 100_000,
     '{"name": "a", "arguments": "b"}'],
)  # fmt: skip
def test_what_is_no_call_stays_text(inside: str) -> None:
    reply = f"<tool_call>{inside}</tool_call>"
    assert read(reply) == (reply, [])


def test_a_call_that_the_end_cuts_off_counts_if_it_is_whole() -> None:
    assert names(read('<tool_call>{"name": "a"}')[1]) == ["a"]
    text, calls = read('<tool_call>{"name": "a", "argu')
    assert "argu" in text and not calls


def test_a_reply_makes_no_more_calls_than_allowed() -> None:
    assert names(read(CALL, CALL, CALL, most=2)[1]) == ["weather", "weather"]
