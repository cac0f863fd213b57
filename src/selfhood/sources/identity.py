"""``identity``: the built-in corpus, spoken by the run's persona.

identity         all of it
identity:zh      in one language; identity:en in the other
identity:self    on who it is alone, for a run whose anchor keeps what the base says to the rest
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from selfhood.chat import Conversation, Language
from selfhood.data.spec import DatasetSpec
from selfhood.errors import DataError, FlagError, MissingError
from selfhood.sources import SourceSettings

NAME = "identity"
SELF = "self"
LANGUAGES: tuple[Language, ...] = get_args(Language)
SUBSETS = (*LANGUAGES, SELF)


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
    if spec.subset not in (None, "all", *SUBSETS):
        raise MissingError(
            f"has no subset {spec.subset!r}",
            where=f"--dataset {NAME}",
            hint=f"there are {', '.join(SUBSETS)}; without one it is everything",
        )
    from selfhood.data.corpus import ITS_OWN, identity_corpus  # other sources start without
    from selfhood.data.identity_texts import TOPICS

    topics = ITS_OWN if spec.subset == SELF else TOPICS
    for row in identity_corpus(settings.persona, seed=settings.seed, topics=topics):
        if spec.subset not in LANGUAGES or spec.subset == row.language:
            yield row
