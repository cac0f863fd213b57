"""What is asked in batch mode: rows of files, or lines of stdin."""

from __future__ import annotations

import json
import os
from typing import TextIO

from selfhood import console
from selfhood.chat import Conversation
from selfhood.data.columns import to_question
from selfhood.data.mix import split_and_sample
from selfhood.data.mixture import parse_spec
from selfhood.data.rows import Chosen
from selfhood.errors import DataError, InputError
from selfhood.hub import choose_hub
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
