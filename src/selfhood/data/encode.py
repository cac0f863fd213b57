"""Segments -> Sample: token ids, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selfhood.chat import Conversation
from selfhood.data.render import Renderer
from selfhood.recipe import Truncation


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One training row. ``trained[i]`` says whether the model learns to say ``ids[i]``."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    origin: str
    weight: float = 1.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Samples, and what ``--max_length`` did to them."""

    samples: tuple[Sample, ...]
    num_deleted: int
    num_truncated: int


def encode_all(
    conversations: Iterable[Conversation],
    renderer: Renderer,
    *,
    max_length: int,
    truncation: Truncation,
) -> Encoded:
    """Encode rows; equal rows are encoded once."""
    known: dict[Conversation, Sample] = {}
    samples: list[Sample] = []
    num_deleted = num_truncated = 0
    for conversation in conversations:
        sample = known.get(conversation)
        if sample is None:
            sample = known[conversation] = encode(conversation, renderer)
        if len(sample.ids) > max_length:
            shorter = shorten(sample, max_length, truncation)
            if shorter is None:
                num_deleted += 1
                continue
            num_truncated += 1
            sample = shorter
        samples.append(sample)
    return Encoded(samples=tuple(samples), num_deleted=num_deleted, num_truncated=num_truncated)


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


def token_counts(samples: Sequence[Sample]) -> list[int]:
    return [len(sample.ids) for sample in samples]
