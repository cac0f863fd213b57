"""Local files: json, jsonl, csv, tsv, parquet, txt, or a folder of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from selfhood.chat import Conversation
from selfhood.data.columns import Row
from selfhood.data.spec import DatasetSpec
from selfhood.errors import DataError, MissingError
from selfhood.sources import SourceSettings

RawRow = tuple[str, Row]  # origin, columns


def claims(spec: DatasetSpec) -> bool:
    path = Path(spec.id).expanduser()
    return spec.hub is None and (path.exists() or path.suffix in READERS)


def read(spec: DatasetSpec, settings: SourceSettings) -> Iterator[Conversation | DataError]:
    for path in _data_files(Path(spec.id).expanduser()):
        for row in READERS[path.suffix](path):
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
        files = sorted(file for file in path.iterdir() if file.suffix in READERS)
        if not files:
            raise MissingError(
                "the folder holds no data files", where=str(path), hint=f"readable: {_KINDS}"
            )
        return files
    if not path.exists():
        raise MissingError("no such file", where=str(path), hint=_near_names(path))
    if path.suffix not in READERS:
        raise MissingError(
            f"files of type {path.suffix or '(none)'} are not read",
            where=str(path),
            hint=f"readable: {_KINDS}",
        )
    return [path]


def _near_names(path: Path) -> str:
    from difflib import get_close_matches

    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return f"did you mean {folder / near[0]}?" if near else f"looked in {folder.resolve()}"


def _read_jsonl(path: Path) -> Iterator[RawRow | DataError]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield _bad_json(f"{path}:{number}:{error.colno}", error)
            continue
        yield _as_row(value, f"{path}:{number}")


def _read_json(path: Path) -> Iterator[RawRow | DataError]:
    """An array of rows, told apart so that each knows its line; or one row a line after all."""
    text = _text(path)
    if not text.lstrip().startswith("["):
        yield from _read_jsonl(path)
        return
    decoder = json.JSONDecoder()
    position = _skip_blank(text, text.index("[") + 1)
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


def _skip_blank(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _read_csv(path: Path) -> Iterator[RawRow | DataError]:
    reader = csv.reader(io.StringIO(_text(path)), delimiter="\t" if path.suffix == ".tsv" else ",")
    header = next(reader, [])
    for cells in reader:
        origin = f"{path}:{reader.line_num}"
        if not cells:
            continue
        if len(cells) != len(header):
            yield DataError(
                f"{len(cells)} cells under {len(header)} column names",
                where=origin,
                hint="put quotes round a cell that holds the separator",
            )
            continue
        yield origin, {name: cell or None for name, cell in zip(header, cells, strict=True)}


def _read_parquet(path: Path) -> Iterator[RawRow | DataError]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"is not a parquet file: {error}", where=str(path)) from error
    number = 0
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", row


def _read_txt(path: Path) -> Iterator[RawRow | DataError]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", {"text": line.rstrip("\r")}


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the file is not UTF-8", where=f"{path}:{line}", hint="save it as UTF-8"
        ) from error


def _as_row(value: object, origin: str) -> RawRow | DataError:
    if isinstance(value, Mapping):
        return origin, value
    return DataError(f"a {type(value).__name__} where a row was expected", where=origin)


def _bad_json(where: str, error: json.JSONDecodeError) -> DataError:
    return DataError(f"not JSON: {error.msg}", where=where, hint="check quotes and commas there")


READERS: Mapping[str, Callable[[Path], Iterator[RawRow | DataError]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_txt,
}
_KINDS = ", ".join(kind.lstrip(".") for kind in READERS)
