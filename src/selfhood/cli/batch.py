"""A file of questions -> a file of answers, in order; a run that was cut goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfhood import console
from selfhood.chat import Conversation, Message
from selfhood.cli.unfinished import Unfinished, fingerprint
from selfhood.engine.types import NOTHING_YET, Engine, Reply, Request, Sampling, extended
from selfhood.opening import Opening
from selfhood.recipe import InferOptions

AT_ONCE = 256  # rows that are handed to the engine together; it takes as many as it has places for

Speakers = Sequence[str | None]


def answer_file(
    engine: Engine,
    rows: Sequence[Conversation],
    options: InferOptions,
    sampling: Sampling,
    opening: Opening,
) -> int:
    """Answer all rows and write one JSON line each, in order, as soon as it and those before it are
    there. What another run has left in the file stays; what this one left when it was cut is not
    asked again."""
    path = _result_path(options, opening)
    path.parent.mkdir(parents=True, exist_ok=True)
    speakers = opening.names or (None,)
    run = Unfinished.of(path, fingerprint(rows, sampling, opening))
    if run.num_done:
        console.say(f"note: {run.num_done} answers are in {path} already; the rest follows")
    elif path.exists():
        console.say(f"note: {path} is there already; answers are added to it")
    started, num_tokens = time.monotonic(), 0
    with (
        run.file() as file,
        console.Progress("answering", total=len(rows), unit="question", done=run.num_done) as bar,
    ):
        for row, replies in answers(engine, rows[run.num_done :], speakers, sampling):
            num_tokens += sum(reply.num_tokens for reply in replies)
            record = _record(row, [reply.text for reply in replies], speakers)
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            file.flush()
            rate = num_tokens / (time.monotonic() - started)
            bar.advance(note=f"{rate:.1f} tokens/s")
    run.finish()
    console.result(str(path))
    return 0


def answers(
    engine: Engine, rows: Sequence[Conversation], speakers: Speakers, sampling: Sampling
) -> Iterator[tuple[Conversation, list[Reply]]]:
    """Each row with every speaker's reply, in order."""
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        requests = [
            Request(messages=_question(row), sampling=sampling, adapter=name)
            for row in some
            for name in speakers
        ]
        replies = [NOTHING_YET] * len(requests)
        is_whole = [False] * len(requests)
        number = 0
        for delta in engine.stream(requests):
            replies[delta.index] = extended(replies[delta.index], delta)
            is_whole[delta.index] = delta.finish is not None
            while number < len(some) and all(is_whole[_places(number, speakers)]):
                yield some[number], replies[_places(number, speakers)]
                number += 1


def _places(number: int, speakers: Speakers) -> slice:
    """Where the replies to a row are."""
    return slice(number * len(speakers), (number + 1) * len(speakers))


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
