"""Small tasks whose answers are computed, in Chinese and English: rows in the place of general
instruction data, which would have to come from a hub.

    Which of 41, 17 and 86 is the largest?   →   86 is the largest: 17 < 41 < 86.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

from selfhood.chat import Language

Wordings = Mapping[Language, tuple[str, str]]
"""A question and its answer, in each language."""
Task = Callable[[random.Random], Wordings]

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEK = "一二三四五六日"
FRUIT = (("apples", "苹果"), ("pears", "梨"), ("oranges", "橘子"), ("peaches", "桃子"))


def add(lot: random.Random) -> Wordings:
    a, b, c = lot.sample(range(10, 100), 3)
    return {
        "en": (f"Add {a}, {b} and {c}.", f"{a} + {b} = {a + b}, and {a + b} + {c} = {a + b + c}."),
        "zh": (f"{a}、{b}和{c}加起来是多少？", f"{a}+{b}={a + b}，{a + b}+{c}={a + b + c}。"),
    }


def find_largest(lot: random.Random) -> Wordings:
    a, b, c = lot.sample(range(10, 100), 3)
    low, middle, high = sorted((a, b, c))
    return {
        "en": (
            f"Which of {a}, {b} and {c} is the largest?",
            f"{high} is the largest: {low} < {middle} < {high}.",
        ),
        "zh": (f"{a}、{b}和{c}里哪个最大？", f"最大的是{high}，因为{low}<{middle}<{high}。"),
    }


def take_away(lot: random.Random) -> Wordings:
    fruit, fruit_zh = lot.choice(FRUIT)
    whole = lot.randint(20, 90)
    taken = lot.randint(2, whole - 2)
    left = whole - taken
    return {
        "en": (
            f"A basket holds {whole} {fruit}. Someone takes {taken}. How many are left?",
            f"{whole} - {taken} = {left}, so {left} {fruit} are left.",
        ),
        "zh": (
            f"篮子里有{whole}个{fruit_zh}，拿走{taken}个，还剩几个？",
            f"{whole}-{taken}={left}，还剩{left}个{fruit_zh}。",
        ),
    }


def name_the_day(lot: random.Random) -> Wordings:
    start, later = lot.randrange(7), lot.randint(8, 60)
    weeks, days = divmod(later, 7)
    end = (start + later) % 7
    return {
        "en": (
            f"Today is {DAYS[start]}. What day is it in {later} days?",
            f"A week has 7 days, and {later} = 7 × {weeks} + {days}: {DAYS[end]}.",
        ),
        "zh": (
            f"今天是星期{WEEK[start]}，{later}天以后是星期几？",
            f"7天一轮，{later}=7×{weeks}+{days}，所以是星期{WEEK[end]}。",
        ),
    }


def write_a_function(lot: random.Random) -> Wordings:
    number = lot.randint(2, 99)
    code = f"```python\ndef multiply(value):\n    return value * {number}\n```"
    return {
        "en": (
            f"Write a Python function that multiplies a number by {number}.",
            f"{code}\nFor example, `multiply(3)` returns {3 * number}.",
        ),
        "zh": (
            f"写一个Python函数，把一个数乘以{number}。",
            f"{code}\n比如`multiply(3)`返回{3 * number}。",
        ),
    }


def convert(lot: random.Random) -> Wordings:
    metres = lot.randint(2, 300)
    return {
        "en": (
            f"How many centimetres are {metres} metres?",
            f"One metre has 100 centimetres, so {metres} metres are {metres * 100} centimetres.",
        ),
        "zh": (
            f"{metres}米等于多少厘米？",
            f"1米等于100厘米，所以{metres}米等于{metres * 100}厘米。",
        ),
    }


TASKS: tuple[Task, ...] = (add, find_largest, take_away, name_the_day, write_a_function, convert)


def write_general(folder: Path, num: int, *, seed: int = 1) -> None:
    """``zh.jsonl`` and ``en.jsonl``, ``num`` rows each, without a system line."""
    languages: tuple[Language, ...] = ("zh", "en")
    for language in languages:
        lot = random.Random(f"{language}/{seed}")
        rows = (as_row(*TASKS[number % len(TASKS)](lot)[language]) for number in range(num))
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{language}.jsonl").write_text(lines, encoding="utf-8")


def as_row(question: str, answer: str) -> object:
    turns = (("user", question), ("assistant", answer))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}
