"""Data files of every kind: each row knows its place, and nothing is dropped without a word."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from selfhood.chat import Conversation
from selfhood.data.mixture import parse_spec
from selfhood.errors import DataError, FlagError, MissingError
from selfhood.hub import Hub
from selfhood.persona import Bilingual, Persona
from selfhood.sources import Gathered, SourceSettings, gather

KITSU = Persona(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间", "Forest"))
ROW = {"query": "你是谁?", "response": "我是小狐。"}
LINE = json.dumps(ROW, ensure_ascii=False)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(name: str, content: str | bytes = "", *, strict: bool = True) -> Gathered:
    if content:
        data = content.encode() if isinstance(content, str) else content
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
    settings = SourceSettings(hub=Hub.MODELSCOPE, persona=KITSU, seed=1)
    return gather(parse_spec(name), settings, strict=strict)


def said(rows: Iterable[Conversation]) -> list[list[str]]:
    return [[turn.content for turn in row.turns] for row in rows]


def origins(gathered: Gathered) -> list[str]:
    return [row.origin for row in gathered.rows]


def failure(name: str, content: str | bytes = "") -> str:
    with pytest.raises((DataError, MissingError, FlagError)) as caught:
        read(name, content)
    return str(caught.value)


# JSON


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "A.JSON", "數據.jsonl", "two words.json"])
@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (f"{LINE}\n{LINE}\n", [1, 2]),
        (f"{LINE}\r\n\r\n{LINE}\r\n", [1, 3]),
        (f"\ufeff{LINE}\n{LINE}", [1, 2]),
        (f"[{LINE},\n{LINE}]", [1, 2]),
        (f"\ufeff[\r\n  {LINE},\r\n\r\n  {LINE}\r\n]\r\n", [2, 4]),
        (json.dumps([ROW, ROW], indent=2), [2, 6]),
        (f"{json.dumps(ROW, indent=2)}\n{json.dumps(ROW, indent=2)}\n", [1, 5]),
        (f"[{LINE},\n{LINE},\n]", [1, 2]),
    ],
)
def test_json_is_read_as_it_comes_and_every_row_knows_its_line(
    name: str, content: str, lines: list[int]
) -> None:
    gathered = read(name, content)
    assert said(gathered.rows) == [["你是谁?", "我是小狐。"]] * 2
    assert origins(gathered) == [f"{name}:{line}" for line in lines]


def test_a_single_object_is_one_row() -> None:
    assert said(read("a.json", json.dumps(ROW, indent=4)).rows) == [["你是谁?", "我是小狐。"]]


def test_quotes_line_ends_and_separators_inside_a_text_stay() -> None:
    text = "say \"hi\"\n\u2028,]}\\ and 'bye'"
    line = json.dumps({"query": "q", "response": text}, ensure_ascii=False)
    assert said(read("a.jsonl", f"{line}\n{line}").rows) == [["q", text]] * 2
    assert said(read("b.json", f"[{line}]").rows) == [["q", text]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (f'{LINE}\n{{"query": "x" "response"}}\n', "a.json:2:15: not JSON"),
        (f"[\n{LINE},\n{{'query': 1}}]", "a.json:3:2: not JSON"),
        (f"[{LINE}\n{LINE}]", "a.json:2:1: not JSON: Expecting ',' or ']'"),
        (f"[{LINE},", "a.json:1:"),
        (f"[{LINE}]\n[{LINE}]", "a.json:2: more text after the end of the array"),
        ('{\n "query": "q",\n "response": "a",\n}', "a.json:"),
        ("[1, 2]", "a.json:1: a int where a row was expected"),
        (f"{LINE}\n7\n", "a.json:2: a int where a row was expected"),
        ("[]", "no usable rows; the file holds no rows"),
        (" \n", "no usable rows; the file holds no rows"),
        ("hello", "a.json:1:1: not JSON"),
        (LINE.encode("gbk"), "a.json:1: the file is not UTF-8; save it as UTF-8"),
        (LINE.encode("utf-16"), "a.json:1: the file is not UTF-8"),
        ('{"query": "q", "response": null}', "a.json:1: response is null"),
    ],
)
def test_what_is_broken_is_said_with_its_place(content: str | bytes, what: str) -> None:
    assert what in failure("a.json", content)


def test_an_empty_file_says_so() -> None:
    Path("a.jsonl").touch()
    assert "the file holds no rows" in failure("a.jsonl")


def test_bad_lines_can_be_skipped_and_are_counted() -> None:
    gathered = read("a.jsonl", f"{LINE}\n{{broken\n{LINE}\n{{}}\n", strict=False)
    assert origins(gathered) == ["a.jsonl:1", "a.jsonl:3"]
    assert gathered.rows.num_skipped == 2


def test_when_all_lines_are_bad_the_first_is_shown() -> None:
    with pytest.raises(DataError, match=r"no usable rows; the first bad one: a.jsonl:1"):
        read("a.jsonl", "{x\n{y\n", strict=False)


# Tables and texts


def test_csv_cells_may_hold_separators_quotes_and_line_ends() -> None:
    gathered = read("a.csv", 'question,answer\n"a, ""b""","1\n2"\r\nc,3\n')
    assert said(gathered.rows) == [['a, "b"', "1\n2"], ["c", "3"]]
    assert origins(gathered) == ["a.csv:2", "a.csv:4"]


def test_a_header_may_have_blanks_and_a_mark_before_it() -> None:
    assert said(read("a.csv", "\ufeffquestion, answer\nq,a\n").rows) == [["q", "a"]]


def test_tsv_is_split_at_tabs() -> None:
    assert said(read("a.TSV", "query\tresponse\na,b\tc\n").rows) == [["a,b", "c"]]


def test_csv_words_that_other_readers_take_for_nothing_are_words() -> None:
    assert said(read("a.csv", "query,response\nNA,null\n").rows) == [["NA", "null"]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("query,response\na,b,c\n", "a.csv:2: 3 cells under 2 column names"),
        ('query,response\na,b\nc,"d\ne,f\n', "a.csv:3: not CSV"),
        ("query,response\na,\n", "a.csv:2: response is null"),
        ("query,response\n,b\n", "a.csv:2: query is null"),
        ("query;response\na;b\n", "no answer found in the columns query;response"),
        ("query,response\n", "no usable rows"),
        ("query,response\na," + "x" * 200_000 + "\n", "a.csv:2: not CSV"),
    ],
)
def test_a_broken_table_is_said_with_its_line(content: str, what: str) -> None:
    assert what in failure("a.csv", content)


def test_each_line_of_a_text_is_a_row() -> None:
    gathered = read("a.txt", "one\r\n\r\ntwo\n")
    assert said(gathered.rows) == [["one"], ["two"]]
    assert origins(gathered) == ["a.txt:1", "a.txt:3"]


def test_parquet_rows_are_numbered() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([ROW, ROW]), "a.parquet")
    gathered = read("a.parquet")
    assert said(gathered.rows) == [["你是谁?", "我是小狐。"]] * 2
    assert origins(gathered) == ["a.parquet:1", "a.parquet:2"]


def test_a_parquet_file_that_is_none_says_so() -> None:
    assert "a.parquet: is not a parquet file" in failure("a.parquet", "PAR0")


# Places


def test_a_folder_gives_all_its_data_files_but_not_what_describes_them() -> None:
    read("d/b.jsonl", LINE)
    read("d/sub/a.csv", "query,response\nq,a\n")
    for name in ("dataset_infos.json", "README.md", ".cache/x.json"):
        Path("d", name).parent.mkdir(exist_ok=True)
        Path("d", name).write_text("{}")
    assert origins(read("d")) == ["d/b.jsonl:1", "d/sub/a.csv:2"]


def test_of_a_folder_with_a_training_part_the_other_parts_are_not_trained() -> None:
    for name in ("train-00000.jsonl", "test-00000.jsonl", "validation.jsonl"):
        read(f"d/data/{name}", LINE)
    assert origins(read("d")) == ["d/data/train-00000.jsonl:1"]


def test_a_folder_without_data_says_what_is_readable() -> None:
    Path("d").mkdir()
    assert "holds no data files; readable: json, jsonl" in failure("d")


def test_a_missing_file_names_its_near_neighbour() -> None:
    read("self_cognition.json", LINE)
    assert failure("self_cognitoin.json") == (
        "self_cognitoin.json: no such file; did you mean self_cognition.json?"
    )


def test_a_file_of_an_unknown_kind_says_what_is_readable() -> None:
    assert "files of type .xlsx are not read; readable" in failure("a.xlsx", b"PK")


def test_a_file_has_no_subset() -> None:
    read("a.json", LINE)
    assert "no subsets" in failure("a.json:zh")


def test_a_home_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    read("a.json", LINE)
    assert len(read("~/a.json").rows) == 1


# The built-in dataset


def test_identity_can_be_taken_in_one_language() -> None:
    both, zh, en = read("identity"), read("identity:zh"), read("identity:en")
    assert {row.language for row in zh.rows} == {"zh"}
    assert {row.language for row in en.rows} == {"en"}
    assert len(zh.rows) + len(en.rows) == len(both.rows) == len(read("identity:all").rows)


def test_identity_has_no_other_subset() -> None:
    assert "there are zh, en, self" in failure("identity:fr")


def test_identity_needs_a_name() -> None:
    settings = SourceSettings(hub=Hub.MODELSCOPE, persona=None, seed=1)
    with pytest.raises(FlagError, match="add --model_name and --model_author"):
        gather(parse_spec("identity"), settings, strict=True)
