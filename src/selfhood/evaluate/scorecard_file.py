"""scorecard.json: everything an evaluation found, written whole and read back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfhood.chat import Message
from selfhood.errors import InputError
from selfhood.evaluate.types import Judged, Measure, Probe, Scorecard, Verdict
from selfhood.files import read_json, write_json

FILE = "scorecard.json"


def write_scorecard(scorecard: Scorecard, folder: Path) -> Path:
    path = folder / FILE
    write_json(path, asdict(scorecard))
    return path


def read_scorecard(path: Path) -> Scorecard:
    """A scorecard as ``write_scorecard`` left it; a folder stands for the file in it."""
    file = path / FILE if path.is_dir() else path
    table = read_json(file)
    try:
        return Scorecard(
            suite=table["suite"],
            model=table["model"],
            adapters=tuple(table["adapters"]),
            measures=tuple(Measure(**each) for each in table["measures"]),
            judged=tuple(_judged(each) for each in table["judged"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError("is no scorecard of this version", where=str(file)) from error


def _judged(table: dict[str, Any]) -> Judged:
    return Judged(
        probe=_probe(table["probe"]),
        speaker=table["speaker"],
        reply=table["reply"],
        verdicts=tuple(Verdict(**each) for each in table["verdicts"]),
    )


def _probe(table: dict[str, Any]) -> Probe:
    messages = tuple(
        Message(each["role"], each["content"], each["trained"]) for each in table["messages"]
    )
    return Probe(**{**table, "messages": messages, "expects": tuple(table["expects"])})
