"""``identity``: the built-in corpus, spoken by the run's persona."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from selfhood.chat import Conversation
from selfhood.data.corpus import identity_corpus
from selfhood.data.identity_texts import LANGUAGES
from selfhood.data.spec import DatasetSpec
from selfhood.errors import DataError, FlagError, MissingError
from selfhood.sources import SourceSettings

NAME = "identity"


def claims(spec: DatasetSpec) -> bool:
    return spec.id == NAME and spec.hub is None


def files(spec: DatasetSpec, settings: SourceSettings) -> Sequence[Path]:
    return ()  # the package's own, and small


def read(spec: DatasetSpec, settings: SourceSettings) -> Iterator[Conversation | DataError]:
    if settings.persona is None:
        raise FlagError(
            "needs to know whom to speak for",
            where=f"--dataset {NAME}",
            hint="add --model_name and --model_author, or --persona",
        )
    if spec.subset not in (None, "all", *LANGUAGES):
        raise MissingError(
            f"has no subset {spec.subset!r}",
            where=f"--dataset {NAME}",
            hint=f"there are {' and '.join(LANGUAGES)}; without one it is both",
        )
    for row in identity_corpus(settings.persona, seed=settings.seed):
        if spec.subset in (None, "all", row.language):
            yield row
