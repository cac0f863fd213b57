"""What keeps the rest of a model as it was, while it learns who it is.

    python -m bench.anchor [--only NAME ...] [--write]

The starter learns one persona from the same rows in the same updates, each time beside another
anchor, and is then asked with the quick suite. Seconds are of training; what the base has answered
before is in the cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.persona import PERSONA, SYSTEM
from selfhood import api
from selfhood.data.encode import encode
from selfhood.engine.native import NativeEngine
from selfhood.evaluate.evaluation import make_paper, read_texts
from selfhood.evaluate.exam import examine
from selfhood.evaluate.retention import Retention, passages_of
from selfhood.evaluate.scoring import rates
from selfhood.model.adapters import ADAPTER
from selfhood.recipe import ExamOptions, Recipe
from selfhood.run import Run
from selfhood.starter import STARTER_ID
from selfhood.training.anchor import NO_ANCHOR, Anchor, hidden_states
from selfhood.training.loop import Training
from selfhood.training.metrics import Unheard
from selfhood.training.plan import Plan
from selfhood.training.start import open_training
from selfhood.training.world import ALONE

PAGE = Path("docs/results/anchor.md")
NUM_UPDATES = 32
KINDS = ("name_recall", "author_recall", "denial", "old_identity_leak", "over_generalisation")


def none(plan: Plan, training: Training) -> Anchor:
    return NO_ANCHOR


def replay(plan: Plan, training: Training) -> Anchor:
    """The base's own replies, learnt like any row."""
    samples = [replace(sample, anchor=None) for sample in training.anchor.samples]
    return replace(training.anchor, samples=samples)


def given_text(plan: Plan, training: Training) -> Anchor:
    """KL on prose that somebody else wrote: the passages of one half of the evaluation."""
    rows = [row for texts in read_texts() for row in passages_of(texts)[::2]]
    samples = [
        replace(encode(row, plan.renderer), anchor=number) for number, row in enumerate(rows)
    ]
    states = hidden_states(samples, training.loaded, plan.layout)
    return replace(training.anchor, samples=samples, states=states, per_update=4)


def weighing(weight: float) -> Callable[[Plan, Training], Anchor]:
    """KL on the base's own replies."""

    def own_replies(plan: Plan, training: Training) -> Anchor:
        return replace(training.anchor, weight=weight)

    return own_replies


@dataclass(frozen=True, slots=True)
class Variant:
    """What keeps the rest, and where A starts."""

    anchor: Callable[[Plan, Training], Anchor]
    init_weights: str = "true"


VARIANTS: Mapping[str, Variant] = {
    "none": Variant(none),
    "the base's replies, as rows": Variant(replay),
    "KL on given text, weight 10": Variant(given_text),
    "KL on the base's replies, weight 1": Variant(weighing(1)),
    "KL on the base's replies, weight 10": Variant(weighing(10)),
    "the same, A contrastive": Variant(weighing(10), "contrastive"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    name: str
    seconds: float
    values: tuple[float, ...]
    """As ``KINDS``, then nats a token on the passages of the other half, and top-1 agreement."""


def measure(name: str, folder: Path) -> Finding:
    recipe = Recipe.from_values(
        {
            "model": STARTER_ID,
            "system": SYSTEM,
            "dataset": ("identity",),
            "model_name": (PERSONA.name.zh, PERSONA.name.en),
            "model_author": (PERSONA.author.zh, PERSONA.author.en),
            "learning_rate": 5e-4,
            "adam_beta2": 0.999,
            "warmup_steps": 2,
            "max_steps": NUM_UPDATES,
            "gradient_accumulation_steps": 8,
            "anchor": 320,
            "init_weights": VARIANTS[name].init_weights,
            "output_dir": str(folder),
        }
    )
    plan = api.plan(recipe)
    training = open_training(plan, Run(folder), ALONE, None)
    training.anchor = VARIANTS[name].anchor(plan, training)
    began = time.monotonic()
    training.fit(Unheard())
    seconds = time.monotonic() - began
    return Finding(name=name, seconds=seconds, values=ask(plan, training))


def ask(plan: Plan, training: Training) -> tuple[float, ...]:
    training.loaded.model.eval()
    engine = NativeEngine(training.loaded, plan.renderer)
    paper = make_paper(PERSONA, ExamOptions())
    judged = examine(
        engine,
        paper.probes,
        paper.judge,
        speakers={"tuned": ADAPTER},
        seed=42,
    )
    found = {each.name: each.value for each in rates(judged)}
    passages = [row for texts in read_texts() for row in passages_of(texts)[1::2]]
    drift = Retention(engine.loaded, plan.renderer, passages, adapter=ADAPTER).drift()
    found |= {each.name: each.value for each in drift.measures()}
    return tuple(found[kind] for kind in (*KINDS, "kl", "agreement"))


def table(findings: Sequence[Finding]) -> str:
    titles = ("anchor", "training", *(kind.replace("_", " ") for kind in KINDS), "KL", "agreement")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for found in findings:
        rates_shown = [f"{value:.2f}" for value in found.values[:-2]]
        kl, agreement = found.values[-2:]
        cells = [
            found.name,
            f"{found.seconds:.0f} s",
            *rates_shown,
            f"{kl:.4f}",
            f"{agreement:.3f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    findings = []
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            findings.append(measure(name, Path(folder)))
        print(table(findings[-1:]).splitlines()[-1], flush=True)
    if options.write:
        head, _, _ = PAGE.read_text(encoding="utf-8").partition("| anchor |")
        PAGE.write_text(f"{head}{table(findings)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
