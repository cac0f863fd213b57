"""A file of questions becomes a file of answers, in order, with the keys ms-swift writes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selfhood.cli.batch import answer_file
from selfhood.cli.questions import read_questions, read_stdin
from selfhood.engine.types import Delta, Request, Sampling
from selfhood.errors import DataError, InputError
from selfhood.opening import Opening
from selfhood.recipe import InferOptions
from selfhood.run import Checkpoint
from tests.fake_engine import FakeEngine


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opening(*adapters: str) -> Opening:
    return Opening(
        model_path=Path("tiny"),
        trained=None,
        checkpoints=tuple(Checkpoint(Path(adapter)) for adapter in adapters),
        system=None,
        options=InferOptions.from_values({}).model,
    )


def answer(options: dict[str, Any], *adapters: str, stdin: str = "") -> list[dict[str, Any]]:
    """The result file after a run."""
    infer = InferOptions.from_values({"result_path": "out.jsonl", **options})
    rows = read_questions(infer) if infer.sampling.val_dataset else read_stdin(io.StringIO(stdin))
    assert answer_file(FakeEngine(), rows, infer, Sampling(), opening(*adapters)) == 0
    return [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]


def replies(records: list[dict[str, Any]]) -> list[str]:
    return [record["response"] for record in records]


def write(name: str, *rows: dict[str, Any]) -> str:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_every_question_is_answered_in_order() -> None:
    data = write("q.jsonl", *({"query": f"问{number}"} for number in range(5)))
    records = answer({"val_dataset": (data,)})
    assert replies(records) == [f"base: 问{number}" for number in range(5)]


def test_a_record_has_the_keys_of_ms_swift() -> None:
    data = write("q.jsonl", {"system": "s", "query": "q", "response": "label"}, {"query": "q"})
    labelled, bare = answer({"val_dataset": (data,)})
    assert labelled == {
        "response": "base: q",
        "labels": "label",
        "logprobs": None,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "base: q"},
        ],
    }
    assert bare["labels"] is None


def test_several_files_and_row_counts() -> None:
    Path("a.txt").write_text("one\ntwo\nthree\n")
    data = write("b.jsonl", {"messages": [{"role": "user", "content": "four"}]})
    records = answer({"val_dataset": ("a.txt#2", data)})
    assert replies(records) == ["base: one", "base: two", "base: four"]


def test_several_identities_answer_side_by_side() -> None:
    (record,) = answer({}, "run/fox", "run/owl", stdin="who\n")
    assert record["response"] == "fox: who"
    assert record["responses"] == {"fox": "fox: who", "owl": "owl: who"}


def test_stdin_holds_a_question_a_line_as_text_or_json() -> None:
    records = answer({}, stdin='who\r\n\n{"query": "你是谁", "system": "s"}\n')
    assert replies(records) == ["base: who", "base: 你是谁"]


def test_a_broken_line_of_stdin_says_its_place() -> None:
    with pytest.raises(DataError, match="stdin:2:2: not JSON"):
        read_stdin(io.StringIO("who\n{x\n"))
    with pytest.raises(DataError, match="stdin:1: no question found in the columns foo"):
        read_stdin(io.StringIO('{"foo": "x"}'))


def test_stdin_without_a_question_says_what_to_give() -> None:
    with pytest.raises(InputError, match="stdin: no questions; give one a line"):
        read_stdin(io.StringIO("\n\n"))


def test_earlier_answers_in_the_file_stay(capsys: pytest.CaptureFixture[str]) -> None:
    answer({}, stdin="one\n")
    assert replies(answer({}, stdin="two\n")) == ["base: one", "base: two"]
    assert "answers are added to it" in capsys.readouterr().err


def test_the_path_of_the_answers_is_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    answer({}, stdin="one\n")
    assert capsys.readouterr().out == "out.jsonl\n"


@pytest.mark.parametrize(
    ("adapters", "path", "folder"),
    [
        (["run/checkpoint-1"], None, "run/checkpoint-1/infer_result"),
        ([], None, "result/tiny/infer_result"),
        ([], "results", "results"),
        ([], "new/folder/a.jsonl", "new/folder"),
    ],
)
def test_answers_go_beside_the_checkpoint_or_where_they_are_sent(
    adapters: list[str], path: str | None, folder: str
) -> None:
    Path("results").mkdir()
    infer = InferOptions.from_values({"result_path": path})
    rows = read_stdin(io.StringIO("q"))
    answer_file(FakeEngine(), rows, infer, Sampling(), opening(*adapters))
    assert len(list(Path(folder).glob("*.jsonl"))) == 1


class Cut(FakeEngine):
    """Is killed after so many answers."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        for delta in super().stream(requests):
            if delta.index == self.after:
                raise KeyboardInterrupt
            yield delta


def answer_with(engine: FakeEngine, data: str, **sampling: Any) -> list[str]:
    infer = InferOptions.from_values({"result_path": "out.jsonl", "val_dataset": (data,)})
    with contextlib.suppress(KeyboardInterrupt):
        answer_file(engine, read_questions(infer), infer, Sampling(**sampling), opening())
    lines = Path("out.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["response"] for line in lines]


def test_a_run_that_was_cut_goes_on_where_it_was_cut() -> None:
    data = write("q.jsonl", *({"query": f"q{number}"} for number in range(6)))
    assert answer_with(Cut(4), data) == [f"base: q{number}" for number in range(4)]
    with Path("out.jsonl").open("a") as file:
        file.write('{"response": "base: q4", "lab')  # a kill in the middle of a line
    rest = FakeEngine()
    assert answer_with(rest, data) == [f"base: q{number}" for number in range(6)]
    assert len(rest.requests) == 2
    assert [path.name for path in Path().glob("*out*")] == ["out.jsonl"]


def test_a_run_that_asks_something_else_answers_all_of_it() -> None:
    data = write("q.jsonl", *({"query": f"q{number}"} for number in range(3)))
    answer_with(Cut(2), data)
    answered = answer_with(FakeEngine(), data, temperature=0.5)
    assert answered == ["base: q0", "base: q1", "base: q0", "base: q1", "base: q2"]


def test_answers_are_in_order_whoever_is_done_first() -> None:
    class LastFirst(FakeEngine):
        def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
            yield from sorted(super().stream(requests), key=lambda delta: -delta.index)

    data = write("q.jsonl", *({"query": f"{number}"} for number in range(5)))
    assert answer_with(LastFirst(), data) == [f"base: {number}" for number in range(5)]
