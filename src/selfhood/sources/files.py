"""Local files: json, jsonl, csv, tsv, parquet, txt, or a folder of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from selfhood.chat import Conversation
from selfhood.data.columns import Row
from selfhood.data.spec import DatasetSpec
from selfhood.errors import DataError, InputError, MissingError
from selfhood.sources import SourceSettings

RawRow = tuple[str, Row]  # origin, columns
BLANK = " \t\r\n"
# What dataset repositories keep beside their rows.
ABOUT_THE_DATA = ("dataset_infos.json", "dataset_info.json", "state.json", "configuration.json")


def claims(spec: DatasetSpec) -> bool:
    path = Path(spec.id).expanduser()
    return spec.hub is None and (path.exists() or path.suffix.lower() in READERS)


def files(spec: DatasetSpec, settings: SourceSettings) -> Sequence[Path]:
    if spec.subset is not None:
        raise MissingError(
            f"a file has no subsets, so there is no {spec.subset!r} in it", where=spec.id
        )
    return _data_files(Path(spec.id).expanduser())


def read(spec: DatasetSpec, settings: SourceSettings) -> Iterator[Conversation | DataError]:
    for path in files(spec, settings):
        for row in READERS[path.suffix.lower()](path):
            if isinstance(row, DataError):
                yield row
                continue
            origin, columns = row
            try:
                yield settings.read_row(columns, origin=origin, rename=settings.rename)
            except DataError as error:
                yield error


def _data_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if _is_data(file.relative_to(path)))
        if not files:
            raise MissingError(
                "the folder holds no data files", where=str(path), hint=f"readable: {_KINDS}"
            )
        # Where one part is called train, the others are there to test on.
        return [file for file in files if file.stem.lower().startswith("train")] or files
    if not path.exists():
        raise MissingError("no such file", where=str(path), hint=_near_names(path))
    if path.suffix.lower() not in READERS:
        raise MissingError(
            f"files of type {path.suffix or '(none)'} are not read",
            where=str(path),
            hint=f"readable: {_KINDS}",
        )
    return [path]


def _is_data(path: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in READERS and path.name not in ABOUT_THE_DATA and not is_hidden


def _near_names(path: Path) -> str:
    from difflib import get_close_matches

    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean {folder / near[0]}?" if near else f"looked in {folder.resolve()}"


def _read_json(path: Path) -> Iterator[RawRow | DataError]:
    """Rows one a line, or in an array, or one after the other over several lines each: what is
    inside decides, whatever the file is called. Only lines are read one at a time."""
    with _text(path) as file:
        first = next((line.strip(BLANK) for line in file if line.strip(BLANK)), "")
    if not first.startswith("[") and _starts_with_json(first):
        yield from _read_lines(path)
        return
    with _text(path) as file:
        text = file.read()
    start = _skip_blank(text, 0)
    if first.startswith("["):
        yield from _read_array(path, text, start)
    elif first == "{" or _starts_with_json(text[start:]):
        yield from _read_spread(path, text, start)
    else:
        yield from _read_lines(path)


def _starts_with_json(text: str) -> bool:
    try:
        json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError:
        return False
    return True


def _read_lines(path: Path) -> Iterator[RawRow | DataError]:
    for number, line in _lines(path):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield _bad_json(f"{path}:{number}:{error.colno}", error)
            continue
        yield _as_row(value, f"{path}:{number}")


def _read_spread(path: Path, text: str, start: int) -> Iterator[RawRow | DataError]:
    """Objects over several lines each, one after the other."""
    decoder = json.JSONDecoder()
    while start < len(text):
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise _bad_json(f"{path}:{error.lineno}:{error.colno}", error) from error
        yield _as_row(value, f"{path}:{_line(text, start)}")
        start = _skip_blank(text, end)


def _read_array(path: Path, text: str, start: int) -> Iterator[RawRow | DataError]:
    """An array of rows, told apart so that each knows its line."""
    decoder = json.JSONDecoder()
    position = _skip_blank(text, start + 1)
    line, counted = 1, 0
    while text[position : position + 1] != "]":
        try:
            value, end = decoder.raw_decode(text, position)
            after = _skip_blank(text, end)
            if text[after : after + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, after)
        except json.JSONDecodeError as error:
            # Past a broken element nothing in an array can be trusted.
            raise _bad_json(f"{path}:{error.lineno}:{error.colno}", error) from error
        line, counted = line + text.count("\n", counted, position), position
        yield _as_row(value, f"{path}:{line}")
        position = _skip_blank(text, after + 1) if text[after] == "," else after
    rest = _skip_blank(text, position + 1)
    if rest < len(text):
        raise DataError("more text after the end of the array", where=f"{path}:{_line(text, rest)}")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _skip_blank(text: str, position: int) -> int:
    while position < len(text) and text[position] in BLANK:
        position += 1
    return position


def _read_csv(path: Path) -> Iterator[RawRow | DataError]:
    with _text(path, newline="") as file:
        yield from _read_table(path, file)


def _read_table(path: Path, lines: Iterable[str]) -> Iterator[RawRow | DataError]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    # strict: else a quote that is never closed swallows the rest of the file without a word.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    while True:
        line = reader.line_num + 1  # a quoted cell may span lines: the row is where it starts
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"not CSV: {error}", where=f"{path}:{line}", hint="check the quotes there"
            ) from error
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = cells
        elif len(cells) != len(header):
            yield DataError(
                f"{len(cells)} cells under {len(header)} column names",
                where=f"{path}:{line}",
                hint="put quotes round a cell that holds the separator",
            )
        else:
            row = {name: cell or None for name, cell in zip(header, cells, strict=True)}
            yield f"{path}:{line}", row


def _read_parquet(path: Path) -> Iterator[RawRow | DataError]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"is not a parquet file: {error}", where=str(path)) from error
    number = 0
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", row


def _read_txt(path: Path) -> Iterator[RawRow | DataError]:
    for number, line in _lines(path):
        yield f"{path}:{number}", {"text": line.rstrip("\r")}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, without their ends, and their numbers."""
    with _text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, line.removesuffix("\n")


@contextmanager
def _text(path: Path, newline: str = "\n") -> Iterator[TextIO]:
    """The file as text; ``newline`` as ``open`` takes it."""
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _not_utf8(path: Path) -> DataError:
    """Says where: the decoder itself knows its place only within the piece that it was given."""
    with path.open("rb") as file:
        line = next(number for number, data in enumerate(file, start=1) if not _is_utf8(data))
    return DataError("the file is not UTF-8", where=f"{path}:{line}", hint="save it as UTF-8")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _as_row(value: object, origin: str) -> RawRow | DataError:
    if isinstance(value, Mapping):
        return origin, value
    return DataError(f"a {type(value).__name__} where a row was expected", where=origin)


def _bad_json(where: str, error: json.JSONDecodeError) -> DataError:
    return DataError(f"not JSON: {error.msg}", where=where, hint="check quotes and commas there")


READERS: Mapping[str, Callable[[Path], Iterator[RawRow | DataError]]] = {
    ".json": _read_json,
    ".jsonl": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
}
_KINDS = ", ".join(kind.lstrip(".") for kind in READERS)
