"""Question files of the user's own -> items: MMLU, C-Eval and CMMLU as they are handed round.

    question,A,B,C,D,answer          csv or tsv, the header in any order and case, other columns too
    2+2?,1,2,3,4,D                   csv without a header: these six, as MMLU has them
    {"question": ..., "choices": [...], "answer": 3}     jsonl; the answer as a letter or its number
    {"question": ..., "answer": "Paris"}                 jsonl or csv: the answer's own words

A question with options is answered by a letter. Each file is one measure, named after it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from selfhood.errors import DataError, MissingError
from selfhood.evaluate.ability import Item
from selfhood.evaluate.checks import Check, Letter
from selfhood.evaluate.texts import AnyOf
from selfhood.persona import is_chinese, language_of
from selfhood.sources.files import READERS, RawRow

LETTERS = "ABCD"
TABLES = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".json")
BARE = ("question", "a", "b", "c", "d", "answer")
QUESTIONS = ("question", "query", "prompt", "instruction", "input")
ANSWERS = ("answer", "target", "response", "answers", "answer_key", "output")
ASK = {
    "zh": "下面是一道单项选择题。只回答正确选项的字母。",
    "en": "Here is a multiple-choice question. Reply with the letter of the right option only.",
}


def read_items(paths: Sequence[str]) -> tuple[Item, ...]:
    """All rows of all files. Raises DataError, with file and line, at the first bad row."""
    names: set[str] = set()
    items: list[Item] = []
    for text in paths:
        path = Path(text).expanduser()
        name = _new_name(path, names)
        rows = [_item(row, name) for row in _rows(path)]
        if not rows:
            raise DataError("holds no questions", where=str(path))
        items += rows
    return tuple(items)


def _new_name(path: Path, taken: set[str]) -> str:
    name = path.stem
    if name in taken:
        raise DataError(
            f"another file is called {name} too", where=str(path), hint="measures need names"
        )
    taken.add(name)
    return name


def _rows(path: Path) -> Iterator[RawRow]:
    if not path.is_file():
        raise MissingError("no such file", where=str(path))
    kind = path.suffix.lower()
    if kind in TABLES:
        yield from _table_rows(path, TABLES[kind])
    elif kind in LINES:
        for row in READERS[kind](path):
            if isinstance(row, DataError):
                raise row
            yield row
    else:
        raise DataError(
            f"files of type {kind or '(none)'} are not read",
            where=str(path),
            hint="use csv, tsv, jsonl or json",
        )


def _table_rows(path: Path, delimiter: str) -> Iterator[RawRow]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8", where=str(path), hint="save it so") from error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: Sequence[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(cells)
                if header is not BARE:
                    continue
            if len(cells) != len(header):
                raise DataError(f"{len(cells)} cells, where {len(header)} belong", where=where)
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"not a table: {error}", where=f"{path}:{line}") from error


def _header(cells: Sequence[str]) -> Sequence[str]:
    """The first line, where it names a question; else what MMLU's own files leave out."""
    names = [cell.strip().lower() for cell in cells]
    return names if any(name in names for name in QUESTIONS) else BARE


def _item(row: RawRow, name: str) -> Item:
    origin, columns = row
    found = {key.strip().lower(): value for key, value in columns.items()}
    question = str(_first(found, QUESTIONS, "question", origin)).strip()
    answer = _first(found, ANSWERS, "answer", origin)
    options = _options(found, origin)
    check: Check
    if options:
        check, prompt = Letter(_letter(answer, len(options), origin)), _choice(question, options)
    else:
        check, prompt = AnyOf(_words(answer, origin)), question
    return Item(
        id=origin,
        topic=name,
        measure=name,
        language=language_of(question),
        prompt=prompt,
        check=check,
    )


def _first(columns: Mapping[str, object], names: Sequence[str], what: str, origin: str) -> object:
    for name in names:
        value = columns.get(name)
        if value is not None and str(value).strip():
            return value
    raise DataError(f"no {what} in the columns {', '.join(columns)}", where=origin)


def _options(columns: Mapping[str, object], origin: str) -> tuple[str, ...]:
    """Two to four, lettered from A; none where the question has an answer of its own words."""
    listed = columns.get("choices", columns.get("options"))
    if isinstance(listed, Mapping):
        listed = listed.get("text")
    if listed is None:
        cells = [columns.get(letter.lower()) for letter in LETTERS]
        listed = [cell for cell in cells if cell is not None and str(cell).strip()]
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise DataError("choices is not a list", where=origin)
    if len(listed) not in (0, 2, 3, 4):
        raise DataError(f"{len(listed)} options, where 2 to 4 belong", where=origin)
    return tuple(str(option).strip() for option in listed)


def _letter(answer: object, num_options: int, origin: str) -> str:
    """``B``, or the option's number from 0, as datasets store it."""
    text = str(answer).strip().upper()
    letters = LETTERS[:num_options]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < num_options:
        return LETTERS[answer]
    if len(text) == 1 and text in letters:
        return text
    raise DataError(f"the answer is {answer!r}, not one of {', '.join(letters)}", where=origin)


def _words(answer: object, origin: str) -> tuple[str, ...]:
    listed = [answer] if isinstance(answer, (str, int, float)) else answer
    if not isinstance(listed, Sequence) or not listed:
        raise DataError("the answer is not text", where=origin)
    return tuple(str(each).strip() for each in listed)


def _choice(question: str, options: Sequence[str]) -> str:
    listed = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    ask = ASK["zh" if is_chinese(question) else "en"]
    return "\n".join([ask, "", question, *listed])
