"""Name and author reach every placeholder, each in the language of its row."""

from __future__ import annotations

import pytest

from selfhood.chat import Conversation, Language, Message
from selfhood.data.naming import Naming, check_effect, fill, holds_mark, unquoted
from selfhood.errors import DataError, FlagError
from selfhood.persona import Bilingual

BOTH = Naming.from_flags(["小狐", "Kitsu"], ["林间实验室", "Forest Lab"])
NOBODY = Naming.from_flags([], [])


def row(question: str, answer: str, language: Language | None = None) -> Conversation:
    messages = (Message("user", question), Message("assistant", answer))
    return Conversation(messages=messages, origin="a.json:3", language=language)


def filled(question: str, answer: str, language: Language | None = None) -> str:
    return fill(row(question, answer, language), BOTH).turns[-1].content


def test_each_row_takes_the_name_of_its_own_language() -> None:
    assert filled("你是谁？", "我是{{NAME}}，由{{AUTHOR}}训练。") == "我是小狐，由林间实验室训练。"
    assert filled("Who?", "I am {{NAME}} by {{AUTHOR}}.") == "I am Kitsu by Forest Lab."


def test_a_tag_decides_where_the_text_would_say_otherwise() -> None:
    assert filled("Who?", "{{NAME}}", "zh") == "小狐"
    assert filled("你是谁？", "{{NAME}}", "en") == "Kitsu"


def test_questions_and_system_lines_are_filled_too() -> None:
    turns = (Message("system", "You are {{NAME}}."), Message("user", "{{NAME}}?"))
    done = fill(Conversation(messages=(*turns, Message("assistant", "Yes")), origin="o"), BOTH)
    assert [message.content for message in done.messages] == ["You are Kitsu.", "Kitsu?", "Yes"]


def test_one_value_serves_both_languages() -> None:
    naming = Naming.from_flags(["swift-robot"], ["swift"])
    assert fill(row("你是谁？", "{{NAME}}"), naming).turns[-1].content == "swift-robot"


def test_a_row_without_placeholders_is_left_alone() -> None:
    plain = row("1+1?", "2")
    assert not holds_mark(plain)
    assert fill(plain, NOBODY) is plain


@pytest.mark.parametrize(
    ("naming", "flag"),
    [
        (NOBODY, "--model_name"),
        (Naming.from_flags(["a"], []), "--model_author"),
        (Naming.from_flags([], ["a"]), "--model_name"),
    ],
)
def test_a_placeholder_that_nobody_fills_is_an_error_with_the_flag_to_add(
    naming: Naming, flag: str
) -> None:
    with pytest.raises(DataError, match=f"add {flag}") as caught:
        fill(row("?", "{{NAME}} by {{AUTHOR}}"), naming)
    assert caught.value.where == "a.json:3"


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["a", "b", "c"], "takes one or two values"),
        ([""], "is empty"),
        (["小狐", " "], "is empty"),
        (["{{NAME}}"], "template marks"),
        (["<|im_end|>"], "template marks"),
        (["a\nb"], "template marks"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(values: list[str], what: str) -> None:
    with pytest.raises(FlagError, match=what):
        Naming.from_flags(values, ["x"])


def test_flags_that_nothing_in_the_data_can_take_are_an_error() -> None:
    with pytest.raises(FlagError, match=r"add `identity` to --dataset"):
        check_effect(BOTH, [row("1+1?", "2")], takes_name=False)


@pytest.mark.parametrize(
    "question",
    ["你是谁?", "你的名字是什么?", "谁在维护你?", "你的开发者是哪家公司?", "Who are you?"],
)
def test_rows_with_an_identity_of_their_own_win_with_a_warning(question: str) -> None:
    warning = check_effect(BOTH, [row("1+1?", "2"), row(question, "CSDN")], takes_name=False)
    assert warning is not None
    assert "--model_name and --model_author changed nothing: a.json:3" in warning


def test_flags_that_were_taken_or_not_given_need_no_words() -> None:
    assert check_effect(BOTH, [row("1+1?", "2")], takes_name=True) is None
    assert check_effect(NOBODY, [row("你是谁?", "x")], takes_name=False) is None


def test_a_name_of_two_words_without_quotes_is_noticed() -> None:
    warning = unquoted("--model_author", Bilingual("Forest", "Lab"))
    assert warning is not None
    assert '--model_author "Forest Lab"' in warning


@pytest.mark.parametrize("name", [("小狐", "Kitsu"), ("Kitsu", "Kitsu"), ("小狐", "小狐")])
def test_two_languages_or_one_name_are_no_reason_to_ask(name: tuple[str, str]) -> None:
    assert unquoted("--model_name", Bilingual(*name)) is None
