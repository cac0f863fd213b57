"""Rows as people have them become conversations, or say what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from selfhood.chat import Conversation
from selfhood.data.columns import to_conversation, to_question
from selfhood.errors import DataError

Turns = list[tuple[str, str]]


def read(row: Mapping[str, Any], **rename: str) -> Conversation:
    return to_conversation(row, origin="a.json:1", rename=rename)


def turns(row: Mapping[str, Any], **rename: str) -> Turns:
    return [(message.role, message.content) for message in read(row, **rename).messages]


def asked(row: Mapping[str, Any]) -> Turns:
    question = to_question(row, origin="a.json:1", rename={})
    return [(message.role, message.content) for message in question.messages]


def test_alpaca_joins_instruction_and_input_by_a_line_break() -> None:
    row = {"instruction": "Translate", "input": "fox", "output": "狐"}
    assert turns(row) == [("user", "Translate\nfox"), ("assistant", "狐")]


@pytest.mark.parametrize("blank", ["", None])
def test_alpaca_without_input_is_the_instruction_alone(blank: str | None) -> None:
    row = {"instruction": "你是谁?", "input": blank, "output": "我是小狐。"}
    assert turns(row) == [("user", "你是谁?"), ("assistant", "我是小狐。")]


@pytest.mark.parametrize(
    "query", ["query", "prompt", "Question", "instruction", " problem", "input"]
)
@pytest.mark.parametrize("response", ["response", "Answer", "output", "target", "completion "])
def test_usual_column_names_are_found_in_any_case_and_with_blanks_round_them(
    query: str, response: str
) -> None:
    assert turns({query: "q", response: "a", "id": 7}) == [("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation"])
@pytest.mark.parametrize(
    ("role", "content", "user", "bot"),
    [("role", "content", "user", "assistant"), ("from", "value", "human", "gpt")],
)
def test_openai_and_sharegpt_turns(
    column: str, role: str, content: str, user: str, bot: str
) -> None:
    row = {column: [{role: "system", content: "s"}, {role: user, content: "q"},
                    {role: bot, content: "a"}]}  # fmt: skip
    assert turns(row) == [("system", "s"), ("user", "q"), ("assistant", "a")]


def test_sharegpt_pairs() -> None:
    row = {"conversation": [{"human": "1", "assistant": "2"}, {"human": "3", "assistant": "4"}]}
    assert turns(row) == [("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]


@pytest.mark.parametrize("history", [[["1", "2"]], "[['1', '2']]", [("1", "2")]])
def test_history_comes_before_the_question(history: object) -> None:
    row = {"history": history, "query": "3", "response": "4"}
    assert [content for _, content in turns(row)] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("history", ["[[", 7, [["1"]], ["12x"], "print(1)"])
def test_a_history_that_is_none_is_an_error(history: object) -> None:
    with pytest.raises(DataError, match="history is not a list of pairs"):
        read({"history": history, "query": "3", "response": "4"})


def test_a_system_column_becomes_the_first_message() -> None:
    assert turns({"system": "s", "query": "q", "response": "a"})[0] == ("system", "s")


def test_a_system_message_in_the_turns_wins_over_the_column() -> None:
    row = {"system": "column", "messages": [{"role": "system", "content": "turn"},
                                            {"role": "assistant", "content": "a"}]}  # fmt: skip
    assert turns(row) == [("system", "turn"), ("assistant", "a")]


@pytest.mark.parametrize(("tag", "language"), [("zh", "zh"), ("en", "en"), (None, None), (3, None)])
def test_the_tag_says_the_language(tag: object, language: str | None) -> None:
    assert read({"query": "q", "response": "a", "tag": tag}).language == language


def test_a_list_of_answers_gives_its_first() -> None:
    assert turns({"question": "q", "answers": ["a", "b"]})[-1] == ("assistant", "a")


def test_text_alone_is_trained_without_a_question() -> None:
    assert turns({"text": "Once upon a time"}) == [("assistant", "Once upon a time")]


def test_own_columns_can_be_named() -> None:
    assert turns({"F": "q", "A": "a"}, F="query", A="response") == [
        ("user", "q"),
        ("assistant", "a"),
    ]


def test_a_turn_can_be_marked_as_not_trained() -> None:
    row = {"messages": [{"role": "user", "content": "q"},
                        {"role": "assistant", "content": "a", "loss": False},
                        {"role": "user", "content": "q"},
                        {"role": "assistant", "content": "b"}]}  # fmt: skip
    assert [message.is_trained for message in read(row).messages] == [False, False, False, True]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"query": "q"}, "no answer found in the columns query"),
        ({"foo": "q", "bar": "a"}, "no answer found in the columns foo, bar"),
        ({}, r"no answer found in the columns \(none\)"),
        ({"query": "q", "response": None}, "response is null"),
        ({"query": None, "response": "a"}, "query is null"),
        ({"query": "q", "response": ""}, "the answer is empty"),
        ({"query": " ", "response": "a"}, "the question is empty"),
        ({"instruction": "", "input": "", "output": "a"}, "the question is empty"),
        ({"query": 7, "response": "a"}, "query is int, not text"),
        ({"query": "q", "response": 7}, "response is int, not text"),
        ({"query": "q", "response": "half \ud800"}, r"response holds \\ud800"),
        ({"messages": []}, "messages is not a list of turns"),
        ({"messages": "hi"}, "messages is not a list of turns"),
        ({"messages": ["hi"]}, "turn 1 is not an object"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "turn 1 has the role 'boss'"),
        ({"messages": [{"content": "x"}]}, "turn 1 has the role None"),
        ({"messages": [{"role": "user", "content": None}]}, "turn 1 is null, not text"),
        ({"messages": [{"role": "user", "content": "x"}]}, "the last message is from 'user'"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "s"}]},
            "a system message comes after the first turn",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "loss": "yes"}]},
            "loss is neither true nor false",
        ),
    ],
)
def test_a_row_that_cannot_be_trained_says_where_and_why(row: Mapping[str, Any], what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        read(row)
    assert caught.value.where == "a.json:1"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "q"}, [("user", "q")]),
        ({"text": "q"}, [("user", "q")]),
        ({"instruction": "q", "input": "x"}, [("user", "q\nx")]),
        ({"query": "q", "response": None}, [("user", "q")]),
        ({"query": "q", "response": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"system": "s", "query": "q"}, [("system", "s"), ("user", "q")]),
        ({"messages": [{"role": "user", "content": "q"}]}, [("user", "q")]),
        (
            {"history": [["1", "2"]], "query": "3"},
            [("user", "1"), ("assistant", "2"), ("user", "3")],
        ),
    ],
)
def test_a_question_needs_no_answer(row: Mapping[str, Any], expected: Turns) -> None:
    assert asked(row) == expected


def test_a_question_without_text_says_so() -> None:
    with pytest.raises(DataError, match="query is null"):
        asked({"query": None})
