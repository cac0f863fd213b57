"""Segments -> Sample: token ids, and which of them are trained."""

from __future__ import annotations

import math
import random
from array import array
from collections import OrderedDict
from collections.abc import Container, Sequence
from dataclasses import dataclass

from selfhood.chat import Conversation
from selfhood.data.ceiling import Ceiling
from selfhood.data.render import Renderer
from selfhood.data.rows import Chosen, Lazy, Rows
from selfhood.errors import DataError
from selfhood.recipe import Truncation

FEW_ROWS = 4096
NUM_DRAWN = 1024
TOKENS_REMEMBERED = 1 << 21
"""A token takes some 50 bytes, so this is 100 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One training row. ``trained[i]`` says whether the model learns to say ``ids[i]``.

    A row of the anchor is not learnt: where it is trained, the base model's distribution is kept.
    ``anchor`` is its number there.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    origin: str
    weight: float = 1.0
    anchor: int | None = None

    @property
    def num_trained(self) -> int:
        return sum(self.trained)


def encode(conversation: Conversation, renderer: Renderer) -> Sample:
    """Each segment is tokenised alone: at inference the reply starts on a token of its own too."""
    ids: list[int] = []
    trained: list[bool] = []
    for segment in renderer.segments(conversation):
        piece = renderer.tokenizer.encode(segment.text, add_special_tokens=False)
        ids += piece
        trained += [segment.trained] * len(piece)
    return Sample(ids=tuple(ids), trained=tuple(trained), origin=conversation.origin)


class Encoder:
    """Row -> Sample of at most ``max_length`` tokens.

    Remembers the samples made last, so that repeated rows and the later epochs of small data are
    not tokenised again.
    """

    def __init__(self, renderer: Renderer, *, max_length: int, truncation: Truncation) -> None:
        self.renderer = renderer
        self.max_length = max_length
        self.truncation = truncation
        self._recent: OrderedDict[Conversation, Sample] = OrderedDict()
        self._num_tokens = 0

    def __call__(self, row: Conversation) -> Sample | None:
        """The row as it is trained; None where it is too long and nothing is left of it."""
        sample = self._whole(row)
        if len(sample.ids) <= self.max_length:
            return sample
        return shorten(sample, self.max_length, self.truncation)

    def is_cut(self, row: Conversation) -> bool:
        return len(self._whole(row).ids) > self.max_length

    def _whole(self, row: Conversation) -> Sample:
        sample = self._recent.pop(row, None)
        if sample is None:
            sample = encode(row, self.renderer)
            self._num_tokens += len(sample.ids)
        self._recent[row] = sample  # it is now the one used last
        while self._num_tokens > TOKENS_REMEMBERED:
            _, oldest = self._recent.popitem(last=False)
            self._num_tokens -= len(oldest.ids)
        return sample


class Samples(Lazy[Sample]):
    """Rows that are encoded when they are asked for."""

    def __init__(self, rows: Rows, encoder: Encoder) -> None:
        self._rows = rows
        self._encoder = encoder

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, number: int) -> Sample:
        row = self._rows[number]
        sample = self._encoder(row)
        if sample is None:  # data.ceiling took it for shorter than it is
            raise DataError(
                f"has more than {self._encoder.max_length} tokens, although its text is short",
                where=row.origin,
                hint="use --truncation_strategy right",
            )
        return sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens and trained tokens of samples, in no order."""

    tokens: Sequence[int]
    trained: Sequence[int]

    @property
    def mean(self) -> float:
        return sum(self.tokens) / len(self.tokens)

    @property
    def trained_share(self) -> float:
        return sum(self.trained) / sum(self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Samples, and what ``--max_length`` did to the rows."""

    samples: Sequence[Sample]
    """Each is made when it is asked for."""
    lengths: Lengths
    """Of all samples where there are few, else of some ``NUM_DRAWN`` drawn by lot."""
    longest: int
    """No sample has more tokens."""
    num_deleted: int
    num_truncated: int


def encode_all(
    rows: Rows,
    renderer: Renderer,
    *,
    max_length: int,
    truncation: Truncation,
) -> Encoded:
    """Decide which rows become samples. A few rows are all encoded here, so that their errors are
    raised here; of many rows only those that are drawn, and those that may be too long."""
    encoder = Encoder(renderer, max_length=max_length, truncation=truncation)
    ceiling = Ceiling(rows, renderer)
    drawn = _drawn(len(rows))
    kept, tokens, trained = array("Q"), array("Q"), array("Q")
    longest = num_deleted = num_truncated = 0
    for number in range(len(rows)):
        most = math.inf if number in drawn else ceiling(number)
        if most > max_length:
            row = rows[number]
            sample = encoder(row)
            if sample is None:
                num_deleted += 1
                continue
            num_truncated += encoder.is_cut(row)
            most = len(sample.ids)
            if number in drawn or not tokens:
                tokens.append(most)
                trained.append(sample.num_trained)
        kept.append(number)
        longest = max(longest, int(most))
    return Encoded(
        samples=Samples(Chosen(rows, kept), encoder),
        lengths=Lengths(tokens=tokens, trained=trained),
        longest=longest,
        num_deleted=num_deleted,
        num_truncated=num_truncated,
    )


def _drawn(count: int) -> Container[int]:
    """The numbers of the rows that are encoded in any case."""
    if count <= FEW_ROWS:
        return range(count)
    return frozenset(random.Random(0).sample(range(count), NUM_DRAWN))


def shorten(sample: Sample, max_length: int, truncation: Truncation) -> Sample | None:
    """The sample cut to ``max_length`` tokens; None where nothing that teaches is left.

    ``right`` cuts the end and with it the end mark; ``left`` keeps the end.
    """
    if truncation == "delete":
        return None
    keep = slice(max_length) if truncation == "right" else slice(-max_length, None)
    ids, trained = sample.ids[keep], sample.trained[keep]
    # The first token is never predicted, so a target there teaches nothing.
    if not any(trained[1:]):
        return None
    return Sample(ids=ids, trained=trained, origin=sample.origin, weight=sample.weight)
