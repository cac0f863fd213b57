"""A file of questions -> a file of answers, in order, many at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from selfhood import console
from selfhood.chat import Conversation, Message
from selfhood.data.columns import to_question
from selfhood.data.mix import split_and_sample
from selfhood.data.mixture import parse_spec
from selfhood.data.rows import Chosen
from selfhood.engine.types import Engine, Reply, Request, Sampling, fold
from selfhood.errors import DataError, InputError
from selfhood.hub import choose_hub
from selfhood.opening import Opening
from selfhood.recipe import InferOptions
from selfhood.sources import SourceSettings, gather


def read_questions(options: InferOptions) -> tuple[Conversation, ...]:
    """``--val_dataset``: rows with or without an answer; a text line is a question."""
    settings = SourceSettings(
        hub=choose_hub(options.model.use_hf, os.environ),
        persona=None,
        seed=options.sampling.seed,
        read_row=to_question,
    )
    rows: list[Conversation] = []
    for text in options.sampling.val_dataset:
        gathered = gather(parse_spec(text), settings, strict=True)
        split = split_and_sample(
            len(gathered.rows), num_rows=gathered.spec.num_rows, val_ratio=0.0, generator=None
        )
        rows += Chosen(gathered.rows, split.train)
    return tuple(rows)


def read_stdin(source: TextIO) -> tuple[Conversation, ...]:
    """One question a line: plain text, or a JSON object as in a .jsonl file."""
    if source.isatty():
        console.say("one question a line; Ctrl-D ends the list")
    rows = []
    for number, line in enumerate(source, start=1):
        if line.strip():
            rows.append(_stdin_row(line.strip(), f"stdin:{number}"))
    if not rows:
        raise InputError("no questions", where="stdin", hint="give one a line, or --val_dataset")
    return tuple(rows)


def _stdin_row(line: str, origin: str) -> Conversation:
    if not line.startswith("{"):
        return to_question({"query": line}, origin=origin, rename={})
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg}", where=f"{origin}:{error.colno}") from error
    return to_question(row, origin=origin, rename={})


def answer_file(
    engine: Engine,
    rows: Sequence[Conversation],
    options: InferOptions,
    sampling: Sampling,
    opening: Opening,
) -> int:
    """Answer all rows and write one JSON line each, as soon as its batch is done. Answers that are
    in the file already stay there."""
    path = _result_path(options, opening)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        console.say(f"note: {path} is there already; answers are added to it")
    size = options.sampling.max_batch_size
    speakers = opening.names or (None,)
    started, num_tokens = time.monotonic(), 0
    with (
        path.open("a", encoding="utf-8") as file,
        console.Progress("answering", total=len(rows), unit="question") as bar,
    ):
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            answers = [ask(engine, batch, sampling, name) for name in speakers]
            for row, replies in zip(batch, zip(*answers, strict=True), strict=True):
                num_tokens += sum(reply.num_tokens for reply in replies)
                record = _record(row, [reply.text for reply in replies], speakers)
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            rate = num_tokens / (time.monotonic() - started)
            bar.advance(len(batch), note=f"{rate:.1f} tokens/s")
    console.result(str(path))
    return 0


def ask(
    engine: Engine, rows: Sequence[Conversation], sampling: Sampling, adapter: str | None
) -> list[Reply]:
    requests = [
        Request(messages=_question(row), sampling=sampling, adapter=adapter) for row in rows
    ]
    return fold(engine.stream(requests), len(requests))


def _question(row: Conversation) -> tuple[Message, ...]:
    return row.messages[:-1] if row.messages[-1].role == "assistant" else row.messages


def _record(
    row: Conversation, replies: Sequence[str], speakers: Sequence[str | None]
) -> dict[str, Any]:
    """One line of the result file, with the keys ms-swift writes."""
    asked = [{"role": message.role, "content": message.content} for message in _question(row)]
    last = row.messages[-1]
    record: dict[str, Any] = {
        "response": replies[0],
        "labels": last.content if last.role == "assistant" else None,
        "logprobs": None,
        "messages": [*asked, {"role": "assistant", "content": replies[0]}],
    }
    if len(speakers) > 1:
        record["responses"] = {
            str(name): text for name, text in zip(speakers, replies, strict=True)
        }
    return record


def _result_path(options: InferOptions, opening: Opening) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    if options.sampling.result_path is not None:
        path = Path(options.sampling.result_path).expanduser()
        return path / f"{stamp}.jsonl" if path.is_dir() else path
    if opening.checkpoints:
        return opening.checkpoints[0].path / "infer_result" / f"{stamp}.jsonl"
    return Path("result") / opening.model_path.name / "infer_result" / f"{stamp}.jsonl"
