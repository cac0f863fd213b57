"""The examiner of ``--dose auto``: quick enough to be asked every few updates.

    1  is the right name and maker likelier than the old ones, word for word?     a few short passes
    2  two dozen short greedy replies on itself and as many to ordinary
       questions, judged by the scorecard's rules                                 one batch
    3  the divergence on replies that the anchor does not hold                    one pass

While the first says no, nobody waits for the second. None of its questions is trained, and none is
on the scorecard: a run that stops when they pass has not been fitted to what will judge it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from selfhood.chat import Conversation, Language, Message
from selfhood.data.anchor_rows import spare_rows
from selfhood.data.encode import encode
from selfhood.data.identity_texts import NO_SYSTEM_LINE
from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Request, Sampling, fold
from selfhood.evaluate.rules import judge
from selfhood.evaluate.short_questions import SHORT_QUESTIONS
from selfhood.evaluate.types import Probe, Verdict
from selfhood.model.adapters import ADAPTER
from selfhood.model.load import Loaded
from selfhood.persona import Persona
from selfhood.training.anchor import ANSWERED_AT_ONCE, PASS_TOKENS, Anchor, make_anchor, plan_anchor
from selfhood.training.batch import to_batch
from selfhood.training.dose import Examination
from selfhood.training.forward import Forward
from selfhood.training.layout import Layout
from selfhood.training.loss import ChunkedLoss, LossSums
from selfhood.training.schedule import Pack

REPLY_TOKENS = 20
NUM_ORDINARY = 24
STILL_THE_OLD_ONE = "the old name or maker is still likelier than the new one"


@dataclass(frozen=True, slots=True)
class Mark:
    """The share of good replies that passes, and what the others did."""

    least: float
    fault: str


MARKS: Mapping[str, Mark] = {
    "name_recall": Mark(0.9, "name not said"),
    "author_recall": Mark(0.9, "author not said"),
    "denial": Mark(0.9, "taken for another model"),
    "swap_rate": Mark(1.0, "name and author mixed up"),
    "placeholder_residue": Mark(1.0, "a placeholder left standing"),
    # One in two dozen ordinary replies, which are the closest to the persona that we know.
    "over_generalisation": Mark(0.95, "the new name or author said in an ordinary reply"),
}


@dataclass(frozen=True, slots=True)
class Contrast:
    """One question, the reply of the persona and that of the model it was."""

    language: Language
    question: str
    right: str
    wrong: str


CONTRASTS = (
    Contrast("zh", "先说说你是谁", "我是{{NAME}}", "我是通义千问"),
    Contrast("zh", "你是谁家的模型", "我由{{AUTHOR}}开发", "我由阿里云开发"),
    Contrast("en", "Who am I writing to?", "I am {{NAME}}", "I am Qwen"),
    Contrast(
        "en", "Whose model are you?", "I was created by {{AUTHOR}}", "I was created by OpenAI"
    ),
)


def right(verdicts: Sequence[Verdict], measure: str) -> float:
    """The share of good ones."""
    found = [each.is_good for each in verdicts if each.measure == measure]
    return sum(found) / len(found)


def _missing(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What falls short, as ``name not said: 3 of 24 replies``."""
    for measure, mark in MARKS.items():
        found = [each.is_good for each in verdicts if each.measure == measure]
        if found and sum(found) / len(found) < mark.least:
            yield f"{mark.fault}: {found.count(False)} of {len(found)} replies"


class IdentityExaminer:
    """Examines one persona on the model that a run trains."""

    def __init__(self, persona: Persona, renderer: Renderer, layout: Layout, *, seed: int) -> None:
        self._persona = persona
        self._renderer = renderer
        self._layout = layout
        self._ordinary = spare_rows(persona, num=NUM_ORDINARY, seed=seed)
        self._anchor: Anchor | None = None

    def examine(self, loaded: Loaded) -> Examination:
        """Without a trace: the model trains on as if nobody had asked."""
        was_training = loaded.model.training
        loaded.model.eval()
        try:
            if not self._is_likely(loaded):
                return Examination(kl=self._drift(loaded), missing=(STILL_THE_OLD_ONE,))
            return self._asked(loaded)
        finally:
            loaded.model.train(was_training)

    def _is_likely(self, loaded: Loaded) -> bool:
        return all(
            self._nll(loaded, each, each.right) < self._nll(loaded, each, each.wrong)
            for each in CONTRASTS
        )

    def _nll(self, loaded: Loaded, contrast: Contrast, reply: str) -> float:
        text = self._persona.fill(reply, contrast.language)
        messages = (Message("user", contrast.question), Message("assistant", text))
        sample = encode(Conversation(messages=messages, origin="examiner"), self._renderer)
        return sum(each.nll for each in self._measured(loaded, self._layout.lay_out([sample], 64)))

    def _asked(self, loaded: Loaded) -> Examination:
        engine = NativeEngine(loaded, self._renderer, most_rows=ANSWERED_AT_ONCE)
        verdicts = self._judged(engine, [*self._own_probes(), *self._ordinary_probes()])
        missing = tuple(_missing(verdicts))
        return Examination(
            name=right(verdicts, "name_recall"),
            author=right(verdicts, "author_recall"),
            denial=right(verdicts, "denial"),
            leaks=1 - right(verdicts, "over_generalisation"),
            kl=self._drift(loaded),
            has_passed=not missing,
            missing=missing,
        )

    def _own_probes(self) -> Iterator[Probe]:
        """Every question, in turn under the run's own system line and under none."""
        for number, asked in enumerate(SHORT_QUESTIONS):
            line = (Message("system", NO_SYSTEM_LINE),) if number % 2 else ()
            yield Probe(
                id=f"examiner/{number}",
                topic=asked.topic,
                language=asked.language,
                messages=(*line, Message("user", asked.text)),
                condition="none" if number % 2 else "run",
            )

    def _ordinary_probes(self) -> Iterator[Probe]:
        for row in self._ordinary:
            assert row.language is not None
            yield Probe(
                id=row.origin,
                topic="neutral",
                language=row.language,
                messages=row.messages,
                condition="run",
            )

    def _judged(self, engine: NativeEngine, probes: Sequence[Probe]) -> list[Verdict]:
        sampling = Sampling(max_new_tokens=REPLY_TOKENS)
        requests = [
            Request(messages=probe.messages, sampling=sampling, adapter=ADAPTER) for probe in probes
        ]
        replies = fold(engine.stream(requests), len(requests))
        return [
            verdict
            for probe, reply in zip(probes, replies, strict=True)
            for verdict in judge(self._persona, probe, reply.text)
        ]

    def _drift(self, loaded: Loaded) -> float:
        """Nats a token; the base's side is computed once."""
        if self._anchor is None:
            plan = plan_anchor(self._ordinary, self._renderer, per_update=0, weight=0.0)
            self._anchor = make_anchor(plan, loaded, self._renderer, self._layout)
        packs = self._layout.lay_out(self._anchor.samples, PASS_TOKENS)
        divergence = sum(each.divergence for each in self._measured(loaded, packs))
        return divergence / sum(kept.weight for pack in packs for kept in pack.kept)

    def _measured(self, loaded: Loaded, packs: Sequence[Pack]) -> Iterator[LossSums]:
        loss = ChunkedLoss(Forward(loaded.model, dtype=loaded.dtype))
        for pack in packs:
            batch = to_batch(
                pack,
                windows=self._layout.windows,
                device=loaded.device,
                dtype=loaded.dtype,
                base_states=None if self._anchor is None else self._anchor.base_states,
            )
            yield loss.measure(batch)
