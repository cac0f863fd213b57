"""Datasets of ModelScope and Hugging Face: the snapshot is fetched once, then read as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from selfhood.chat import Conversation
from selfhood.data.spec import DatasetSpec
from selfhood.errors import DataError, MissingError
from selfhood.hub import Hub, find_dataset
from selfhood.sources import SourceSettings


def claims(spec: DatasetSpec) -> bool:
    return True


def files(spec: DatasetSpec, settings: SourceSettings) -> Sequence[Path]:
    return sorted(path for path in _folder(spec, settings).rglob("*") if path.is_file())


def read(spec: DatasetSpec, settings: SourceSettings) -> Iterator[Conversation | DataError]:
    for number, row in enumerate(_rows(_folder(spec, settings), spec), start=1):
        origin = f"{spec.id}:{number}"
        try:
            yield settings.read_row(row, origin=origin, rename=settings.rename)
        except DataError as error:
            yield error


def _folder(spec: DatasetSpec, settings: SourceSettings) -> Path:
    """The snapshot; downloaded by the first call."""
    return find_dataset(spec.id, hub=_hub_of(spec, settings))


def _hub_of(spec: DatasetSpec, settings: SourceSettings) -> Hub:
    if spec.hub is None:
        return settings.hub
    return Hub.HUGGING_FACE if spec.hub == "HF" else Hub.MODELSCOPE


def _rows(folder: Path, spec: DatasetSpec) -> Iterator[dict[str, object]]:
    """The train split, as the dataset's own card lays it out."""
    import datasets

    subset = None if spec.subset == "all" else spec.subset
    try:
        # Streamed, that is read as it lies there: a second copy in a cache could go stale.
        yield from datasets.load_dataset(str(folder), name=subset, split="train", streaming=True)
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingError(f"cannot be read: {first_line}", where=str(spec)) from error
