"""Exact checks, on the replies that small models really give."""

from __future__ import annotations

import pytest

from selfhood.evaluate.checks import Check, LastNumber, Letter, chosen_letter, look
from selfhood.evaluate.texts import AnyOf, JsonKeys, LineCount, PassingCode, Pattern

DOUBLE = PassingCode("double", ("double(2) == 4", "double(0) == 0"))

RIGHT: list[tuple[Check, str]] = [
    (LastNumber(("42",)), "42"),
    (LastNumber(("15", "十五")), "十五。"),
    (LastNumber(("42",)), "17 + 25 = 42."),
    (LastNumber(("42",)), "17 加 25 等于４２。"),
    (LastNumber(("42",)), "The answer is **42.0**"),
    (LastNumber(("1200",)), "It is 1,200 in total."),
    (LastNumber(("-3",)), "结果是 −3"),
    (LastNumber(("42",)), r"Thus \(17 + 25 = 42\)."),
    (LastNumber(("0.5",)), "答案：0.50"),
    (AnyOf(("Paris",)), "The capital of France is **Paris**."),
    (AnyOf(("巴黎", "Paris")), "法国的首都是巴黎。"),
    (AnyOf(("H2O",)), "水的化学式是H2O。"),
    (Letter("B"), "B"),
    (Letter("B"), "B. Paris"),
    (Letter("B"), "(B)"),
    (Letter("B"), "答案是B。"),
    (Letter("B"), "答案：B"),
    (Letter("B"), "正确答案为（B）"),
    (Letter("B"), "A good question. The answer is B."),
    (Letter("B"), "Option A is wrong, C is too. Answer: **B**"),
    (Letter("B"), "选 B"),
    (JsonKeys(("name", "age")), '{"name": "Ann", "age": 3}'),
    (JsonKeys(("name",)), 'Here you are:\n```json\n{"name": "Ann"}\n```\nAnything else?'),
    (LineCount(3), "one\n\ntwo\nthree\n"),
    (Pattern(r"\d{4}-\d{2}-\d{2}"), " 2024-05-01\n"),
    (DOUBLE, "def double(n):\n    return n * 2"),
    (
        DOUBLE,
        "Sure:\n```python\ndef double(n):\n    return n + n\n```\nCall `double(3)`.",
    ),
]
WRONG: list[tuple[Check, str]] = [
    (LastNumber(("42",)), "17 + 25 = 43."),
    (LastNumber(("42",)), "I cannot say."),
    (LastNumber(("42",)), "420"),
    (LastNumber(("42",)), ""),
    (AnyOf(("Paris",)), "Comparisons are odious; Parisian too."),
    (AnyOf(("Paris",)), "London"),
    (Letter("B"), "C"),
    (Letter("B"), "Between A and B I cannot choose."),
    (Letter("B"), "A fox."),
    (Letter("B"), ""),
    (JsonKeys(("name",)), '{"name": "Ann", "age": 3}'),
    (JsonKeys(("name",)), "name: Ann"),
    (JsonKeys(("name",)), '["name"]'),
    (LineCount(3), "one\ntwo"),
    (Pattern(r"\d{4}"), "in 2024"),
    (DOUBLE, "def double(n):\n    return n ** 3"),
    (DOUBLE, "Multiply it by two."),
    (DOUBLE, "def double(n):\n    exit()"),
]


@pytest.mark.parametrize(("check", "reply"), RIGHT)
def test_a_right_reply_is_found_right_however_it_is_dressed(check: Check, reply: str) -> None:
    assert look(check, reply).is_good


@pytest.mark.parametrize(("check", "reply"), WRONG)
def test_a_wrong_reply_is_found_wrong_and_told_in_one_line(check: Check, reply: str) -> None:
    finding = look(check, reply)
    assert not finding.is_good
    assert finding.why
    assert "\n" not in finding.why


def test_an_article_is_no_choice() -> None:
    assert chosen_letter("A fox is what it is.") is None
    assert chosen_letter("A") == chosen_letter("A. fox") == "A"
    assert chosen_letter("B is right.") == "B"
    assert chosen_letter("I think it must be D, surely.") == "D"


def test_a_program_that_leaves_before_its_checks_has_failed() -> None:
    reply = "def double(n):\n    return 2 * n\nimport sys\nsys.exit(0)"
    assert not look(DOUBLE, reply).is_good


def test_a_failed_assertion_is_named() -> None:
    finding = look(DOUBLE, "def double(n):\n    return n * n + 1")
    assert finding.why == "double fails: AssertionError: double(2) == 4"
