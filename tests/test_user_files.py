"""--eval_file: question files as they are handed round, each a measure of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfhood.errors import DataError, InputError, MissingError
from selfhood.evaluate.ability import Item, judge
from selfhood.evaluate.user_files import read_items

SKY = "What colour is the sky?"


def read(folder: Path, name: str, content: str) -> tuple[Item, ...]:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return read_items([str(path)])


def assert_asks_for_the_sky(item: Item) -> None:
    assert item.prompt.splitlines()[2:] == [SKY, "A. red", "B. blue", "C. green", "D. black"]
    assert judge(item, "B").is_good
    assert not judge(item, "A").is_good


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mmlu.csv", f"{SKY},red,blue,green,black,B\n"),
        ("ceval.csv", f"id,question,A,B,C,D,answer,explanation\n0,{SKY},red,blue,green,black,B,\n"),
        ("cmmlu.csv", f",Question,A,B,C,D,Answer\n0,{SKY},red,blue,green,black,B\n"),
        ("mmlu.tsv", f"{SKY}\tred\tblue\tgreen\tblack\tb\n"),
        (
            "hf.jsonl",
            json.dumps(
                {"question": SKY, "choices": ["red", "blue", "green", "black"], "answer": 1}
            ),
        ),
        (
            "letters.jsonl",
            json.dumps(
                {"question": SKY, "A": "red", "B": "blue", "C": "green", "D": "black"}
                | {"answer": "B"}
            ),
        ),
    ],
)
def test_every_usual_form_of_a_choice_is_read(tmp_path: Path, name: str, content: str) -> None:
    (item,) = read(tmp_path, name, content)
    assert_asks_for_the_sky(item)
    assert item.topic == item.measure == Path(name).stem
    assert item.language == "en"


def test_a_plain_question_is_answered_in_its_own_words(tmp_path: Path) -> None:
    rows = [
        {"question": "法国的首都？", "answer": "巴黎"},
        {"query": "1+1?", "answers": ["2", "two"]},
    ]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    first, second = read(tmp_path, "own.jsonl", lines)
    assert (first.prompt, first.language) == ("法国的首都？", "zh")
    assert judge(first, "是巴黎。").is_good
    assert judge(second, "It is two.").is_good
    assert not judge(second, "three").is_good


def test_a_chinese_choice_is_asked_in_chinese(tmp_path: Path) -> None:
    (item,) = read(tmp_path, "zh.csv", "天空是什么颜色？,红,蓝,绿,黑,B\n")
    assert item.prompt.startswith("下面是一道单项选择题")


def test_a_cell_may_span_lines_and_the_rows_behind_it_keep_their_numbers(tmp_path: Path) -> None:
    content = 'question,A,B,C,D,answer\n"Two\nlines?",1,2,3,4,A\n\nOne?,1,2,3,4,E\n'
    with pytest.raises(DataError, match=r"table\.csv:5: the answer is 'E', not one of A, B, C, D"):
        read(tmp_path, "table.csv", content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "question,A,B,C,D,answer\nx,1,2,3,4\n", r"a\.csv:2: 5 cells, where 6 belong"),
        ("a.csv", "one,two\n", r"a\.csv:1: 2 cells, where 6 belong"),
        ("a.csv", 'q,"never closed\n', r"a\.csv:1: not a table"),
        ("a.csv", "question,A,B,C,D,answer\n", r"a\.csv: holds no questions"),
        ("a.jsonl", '{"question": "x"}\n', r"a\.jsonl:1: no answer in the columns question"),
        ("a.jsonl", '{"question": "x", "answer": "y"}\n{"a":\n', r"a\.jsonl:2:\d+: not JSON"),
        ("a.jsonl", '{"question": "x", "choices": "ab", "answer": 0}', "choices is not a list"),
        ("a.jsonl", '{"question": "x", "choices": ["a", "b"], "answer": 2}', "not one of A, B"),
        ("a.jsonl", '{"question": "x", "choices": ["a"], "answer": 0}', "1 options, where 2 to 4"),
        ("a.md", "x", r"a\.md: files of type \.md are not read"),
    ],
)
def test_a_bad_row_is_one_line_with_its_place(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, name, content)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("天空,1,2,3,4,A".encode("gbk"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_items([str(tmp_path / "a.csv")])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_items([str(tmp_path / "no.csv")])


def test_two_files_of_one_name_cannot_be_two_measures(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a.csv", tmp_path / "b" / "a.csv"):
        path.write_text("x,1,2,3,4,A\n")
    with pytest.raises(DataError, match="another file is called a"):
        read_items([str(tmp_path / "a.csv"), str(tmp_path / "b" / "a.csv")])
