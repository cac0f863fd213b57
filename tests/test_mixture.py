"""From the flags of a run to its rows: read, named, sampled, split, and every warning said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfhood.cli.system import system_line
from selfhood.data.mixture import Mixture, read_mixture
from selfhood.errors import DataError, FlagError, InputError, MissingError
from selfhood.recipe import Recipe

NAMES = {"model_name": ("小狐", "Kitsu"), "model_author": ("林间实验室", "Forest Lab")}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("sums.jsonl", [(f"{n}+1?", str(n + 1)) for n in range(10)])
    write("marks.jsonl", [("你是谁？", "我是{{NAME}}。"), ("1+1?", "2"), ("Who?", "{{AUTHOR}}")])


def write(name: str, pairs: list[tuple[str, str]]) -> None:
    rows = [json.dumps({"query": q, "response": a}, ensure_ascii=False) for q, a in pairs]
    Path(name).write_text("\n".join(rows), encoding="utf-8")


def mixture(*datasets: str, **values: Any) -> Mixture:
    return read_mixture(Recipe.from_values({"dataset": datasets, **values}))


def answers(read: Mixture) -> list[str]:
    return [row.turns[-1].content for row in read.train]


def test_datasets_follow_each_other_and_each_says_its_share() -> None:
    read = mixture("sums.jsonl#4", "marks.jsonl", **NAMES)
    assert answers(read)[4:] == ["我是小狐。", "2", "Forest Lab"]
    shares = [(share.num_rows, share.num_train, share.num_named) for share in read.shares]
    assert shares == [(10, 4, 0), (3, 3, 2)]
    assert read.warnings == ()


def test_named_rows_are_counted_among_the_rows_that_are_used() -> None:
    assert mixture("identity#20", **NAMES).shares[0].num_named == 20
    assert mixture("marks.jsonl#1", dataset_shuffle=False, **NAMES).shares[0].num_named == 1


def test_a_repeated_dataset_says_so() -> None:
    assert mixture("sums.jsonl#25").shares[0].is_repeated
    assert not mixture("sums.jsonl#10").shares[0].is_repeated


def test_one_seed_decides_what_is_drawn() -> None:
    drawn = answers(mixture("sums.jsonl#4"))
    assert drawn == answers(mixture("sums.jsonl#4"))
    assert drawn != answers(mixture("sums.jsonl#4", data_seed=7))
    assert answers(mixture("sums.jsonl#4", seed=7)) == answers(mixture("sums.jsonl#4", data_seed=7))


def test_a_part_of_each_dataset_is_kept_for_validation() -> None:
    read = mixture("sums.jsonl#100", "marks.jsonl", split_dataset_ratio=0.3, **NAMES)
    assert not {row.origin for row in read.train} & {row.origin for row in read.val}
    assert [(share.num_train, share.num_val) for share in read.shares] == [(97, 3), (2, 1)]


def test_validation_data_of_its_own_leaves_the_training_data_whole() -> None:
    values = {"val_dataset": ("marks.jsonl#2",), "split_dataset_ratio": 0.3, **NAMES}
    read = mixture("sums.jsonl", "marks.jsonl", **values)
    assert (len(read.train), len(read.val)) == (13, 2)
    assert "--split_dataset_ratio has no effect beside --val_dataset" in read.warnings[0]


def test_validation_rows_take_the_name_too() -> None:
    read = mixture("marks.jsonl", val_dataset=("marks.jsonl",), **NAMES)
    assert not any("{{" in row.turns[-1].content for row in (*read.train, *read.val))


def test_validation_rows_need_an_answer() -> None:
    Path("questions.jsonl").write_text('{"query": "who?"}')
    with pytest.raises(DataError, match=r"questions.jsonl:1: no answer found"):
        mixture("sums.jsonl", val_dataset=("questions.jsonl",))


def test_no_dataset_at_all_says_what_to_give() -> None:
    with pytest.raises(FlagError, match=r"--dataset: is missing; give files, hub ids"):
        mixture()


def test_name_flags_with_nothing_to_act_on_stop_the_run() -> None:
    with pytest.raises(FlagError, match="no row takes the name"):
        mixture("sums.jsonl", **NAMES)


def test_an_identity_of_the_rows_own_is_a_warning() -> None:
    write("own.json", [("你是谁?", "我由 CSDN 开发。")])
    assert "changed nothing: own.json:1" in mixture("own.json", **NAMES).warnings[0]


def test_a_name_that_lost_its_quotes_is_a_warning() -> None:
    values = NAMES | {"model_author": ("Forest", "Lab")}
    assert (
        'put quotes round it: --model_author "Forest Lab"'
        in (mixture("marks.jsonl", **values).warnings[0])
    )


def test_columns_can_be_named_as_json_or_in_a_file() -> None:
    Path("own.csv").write_text("F,A\nq,a\n")
    rename = '{"F": "query", "A": "response"}'
    Path("columns.json").write_text(rename)
    for columns in (rename, "columns.json"):
        assert answers(mixture("own.csv", columns=columns)) == ["a"]


@pytest.mark.parametrize("columns", ["F=query", "[1]", '{"F": 1}'])
def test_columns_that_name_nothing_are_an_error(columns: str) -> None:
    with pytest.raises(FlagError, match="--columns"):
        mixture("sums.jsonl", columns=columns)


def test_bad_rows_stop_the_run_or_are_skipped_and_counted() -> None:
    with Path("sums.jsonl").open("a") as file:
        file.write("\n{broken")
    with pytest.raises(DataError, match=r"sums\.jsonl:11:2"):
        mixture("sums.jsonl")
    share = mixture("sums.jsonl", strict=False).shares[0]
    assert (share.num_rows, share.num_skipped) == (10, 1)


# --system


def test_a_system_line_is_a_text_in_which_backslash_n_breaks_the_line() -> None:
    assert system_line("You are\\nkind.") == "You are\nkind."
    assert system_line("") == ""
    assert system_line(None) is None


def test_a_system_line_can_be_a_file() -> None:
    Path("me.txt").write_bytes("\ufeff你是小狐。\r\n".encode())
    assert system_line("me.txt") == "你是小狐。"


def test_a_system_file_that_is_not_there_or_not_utf8_says_so() -> None:
    with pytest.raises(MissingError, match=r"--system me.txt: no such file"):
        system_line("me.txt")
    Path("me.txt").write_bytes("你".encode("gbk"))
    with pytest.raises(InputError, match=r"--system me.txt: the file is not UTF-8"):
        system_line("me.txt")
