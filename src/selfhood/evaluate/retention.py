"""How far a tuned model has moved from its base on text that has nothing to do with its identity.

    passages ── base ─── hidden_ND, computed once and kept ──┬── head ── p of 256 places ──┐
             └─ tuned ── hidden_ND ──────────────────────────┴── head ── q of 256 places ──┴── KL

At each token of a passage's reply: KL(p || q) = sum over the vocabulary of p (log p - log q), in
nats, and whether both would say the same token next. The passage is given, so that neither model
strays from it. Both distributions are whole, in float32, and exist for a chunk of places at a time.
The base is kept as hidden states, D numbers a token where the vocabulary has 152,000; its head
makes of them what it made of them then. (A model that goes on after its head, as Gemma 2 does, is
kept as logits.)

The mean is over tokens. Its interval is over passages: tokens of one text are not independent.

Suffixes: N places, D width, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from selfhood.chat import Conversation, Message
from selfhood.data.encode import encode
from selfhood.data.render import Renderer
from selfhood.errors import InputError
from selfhood.evaluate.intervals import ratio
from selfhood.evaluate.texts import EvaluationTexts
from selfhood.evaluate.types import Measure
from selfhood.model.adapters import speaking_as
from selfhood.model.load import Loaded
from selfhood.training.batch import Batch, to_batch
from selfhood.training.forward import Forward
from selfhood.training.layout import layout_of
from selfhood.training.loss import chunks
from selfhood.training.schedule import Pack

PASS_TOKENS = 512


def passages_of(texts: EvaluationTexts) -> tuple[Conversation, ...]:
    """The bundled neutral passages of one language."""
    return tuple(
        Conversation(
            messages=(Message("user", each.prompt), Message("assistant", each.reply)),
            origin=f"passage/{each.language}/{number}",
            language=each.language,
        )
        for number, each in enumerate(texts.passages, start=1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageDrift:
    """Sums over the reply tokens of one passage: nats, and next tokens that are still the same."""

    kl: float
    same: float
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What ``Retention`` found, passage by passage."""

    passages: tuple[PassageDrift, ...]

    @property
    def num_tokens(self) -> int:
        return sum(each.num_tokens for each in self.passages)

    @property
    def kl(self) -> float:
        """KL(base || tuned), nats a token."""
        return sum(each.kl for each in self.passages) / self.num_tokens

    @property
    def agreement(self) -> float:
        """Share of tokens at which both find the same token the likeliest."""
        return sum(each.same for each in self.passages) / self.num_tokens

    def measures(self) -> tuple[Measure, ...]:
        """As a scorecard has them."""
        kl = ratio([(each.kl, each.num_tokens) for each in self.passages])
        agreement = ratio([(each.same, each.num_tokens) for each in self.passages])
        return (
            Measure(
                name="kl",
                value=self.kl,
                low=kl[0],
                high=kl[1],
                num=self.num_tokens,
                better="lower",
                unit="nat/token",
            ),
            Measure(
                name="agreement",
                value=self.agreement,
                low=agreement[0],
                high=agreement[1],
                num=self.num_tokens,
                better="higher",
            ),
        )


class Retention:
    """Some passages, and what the base model makes of them.

    drift = Retention(loaded, renderer, passages).drift()

    ``passages`` are conversations with different prompts; places are counted in their replies.
    ``adapter`` is what ``drift`` compares with the base, each time as it is then, so that a run can
    ask again and again. Raises InputError where the base is not below an adapter but gone.
    """

    def __init__(
        self,
        loaded: Loaded,
        renderer: Renderer,
        passages: Sequence[Conversation],
        *,
        adapter: str = "default",
    ) -> None:
        if not hasattr(loaded.model, "peft_config"):
            raise InputError("only an adapter can be compared with the base that is below it")
        self._loaded = loaded
        self._adapter = adapter
        with self._as(None):  # dropout would hide that the head is all there is after the decoder
            self._forward = Forward(loaded.model, dtype=loaded.dtype)
        self._passes = _lay_out(passages, loaded, renderer)
        self._base = [self._hidden(each.batch, None) for each in self._passes]

    def drift(self) -> Drift:
        """One pass over the passages with the adapter, and the head over both."""
        found = {
            number: part
            for each, base_ND in zip(self._passes, self._base, strict=True)
            for number, part in self._drift_of(each, base_ND)
        }
        return Drift(passages=tuple(found[number] for number in sorted(found)))

    def _drift_of(self, each: _Pass, base_ND: Tensor) -> Iterator[tuple[int, PassageDrift]]:
        tuned_ND = self._hidden(each.batch, self._adapter)
        parts = [self._compare(base_ND[chunk], tuned_ND[chunk]) for chunk in chunks(len(base_ND))]
        kl_N = torch.cat([kl for kl, _ in parts])
        same_N = torch.cat([same for _, same in parts])
        start = 0
        for number, count in each.counts:
            places = slice(start, start + count)
            start += count
            yield (
                number,
                PassageDrift(
                    kl=float(kl_N[places].sum()),
                    same=float(same_N[places].sum()),
                    num_tokens=count,
                ),
            )

    def _compare(self, base_ND: Tensor, tuned_ND: Tensor) -> tuple[Tensor, Tensor]:
        """At each place: nats, and 1 where the likeliest token is the same."""
        base_NV = self._log_shares(base_ND, None)
        tuned_NV = self._log_shares(tuned_ND, self._adapter)
        same_N = base_NV.argmax(dim=-1) == tuned_NV.argmax(dim=-1)
        kl_N = tuned_NV.neg_().add_(base_NV).mul_(base_NV.exp_()).sum(dim=-1)
        # Rounding may leave a divergence of nought a little below it.
        return kl_N.clamp(min=0).cpu(), same_N.double().cpu()

    def _log_shares(self, hidden_ND: Tensor, speaker: str | None) -> Tensor:
        """(N, V) log-probabilities; a head that was trained too is the speaker's own."""
        with self._as(speaker):
            logits_NV = self._forward.logits(hidden_ND).float()
        return logits_NV - logits_NV.logsumexp(dim=-1, keepdim=True)

    def _hidden(self, batch: Batch, speaker: str | None) -> Tensor:
        with self._as(speaker):
            return self._forward.hidden(batch)

    @contextlib.contextmanager
    def _as(self, speaker: str | None) -> Iterator[None]:
        model: Any = self._loaded.model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), speaking_as(model, speaker):
                yield
        finally:
            model.train(was_training)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """``counts``: which passages it holds, in the order of their places, and how many each has."""

    batch: Batch
    counts: tuple[tuple[int, int], ...]


def _lay_out(passages: Sequence[Conversation], loaded: Loaded, renderer: Renderer) -> list[_Pass]:
    samples = [
        replace(encode(passage, renderer), origin=str(number))
        for number, passage in enumerate(passages)
    ]
    layout = layout_of(loaded.model.config)
    found = []
    for pack in layout.lay_out(samples, PASS_TOKENS):
        counts = tuple((int(origin), samples[int(origin)].num_trained) for origin in pack.origins)
        _check_apart(pack, counts, passages)
        batch = to_batch(pack, windows=layout.windows, device=loaded.device, dtype=loaded.dtype)
        found.append(_Pass(batch=batch, counts=counts))
    return found


def _check_apart(
    pack: Pack, counts: Sequence[tuple[int, int]], passages: Sequence[Conversation]
) -> None:
    """A token that two passages share would be computed once, and belong to neither."""
    if sum(count for _, count in counts) != len(pack.target_slots):
        origins = ", ".join(passages[number].origin for number, _ in counts)
        raise InputError("passages begin alike up to their replies", where=origins)
