"""What keeps the rest of a model as it was, while it learns who it is.

    python -m bench.anchor [--only NAME ...] [--write]

The starter learns one persona by the default recipe, cut to as many updates for all, each time with
one thing changed; then questions of the full suite are asked, the same of each. Seconds are of
training; what the base has answered before is in the cache.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.trained import drift, prepare, train
from bench.wrong import tell_wrong
from selfhood.data.encode import Sample
from selfhood.data.naming import naming_of
from selfhood.defaults import AIMED_RATE, ALPHA, FIRST_LAYERS, MOST_UPDATES, RANK
from selfhood.engine.native import NativeEngine
from selfhood.evaluate.evaluation import make_paper
from selfhood.evaluate.exam import examine
from selfhood.evaluate.scoring import rates
from selfhood.evaluate.types import Probe
from selfhood.model.adapters import ADAPTER
from selfhood.recipe import ExamOptions
from selfhood.training.anchor import Anchor
from selfhood.training.loop import Training
from selfhood.training.optimizer import FramedAdamW
from selfhood.training.plan import Plan

PAGE = Path("docs/results/anchor.md")
NAME, AUTHOR = ("青石", "Bluestone"), ("海棠工坊", "Begonia Works")  # no page's persona
ASKED = {"name": 60, "author": 24, "denial": 80, "neutral": 240}
KINDS = (
    "name_recall", "author_recall", "denial", "swap_rate", "old_identity_leak",
    "over_generalisation", "kl", "agreement",
)  # fmt: skip


def as_it_is(plan: Plan, training: Training) -> None:
    pass


def replay(plan: Plan, training: Training) -> None:
    """The base's own replies, learnt like any row."""
    samples = [replace(sample, anchor=None) for sample in training.anchor.samples]
    training.anchor = replace(training.anchor, samples=samples)


def without_prose(plan: Plan, training: Training) -> None:
    training.anchor = chosen(training.anchor, lambda sample: not is_prose(sample))


def without_begun(plan: Plan, training: Training) -> None:
    training.anchor = chosen(training.anchor, lambda sample: not is_begun(sample))


def prose_alone(plan: Plan, training: Training) -> None:
    """About as many tokens an update as the default has."""
    training.anchor = replace(chosen(training.anchor, is_prose), per_update=3)


def chosen(anchor: Anchor, wanted: Callable[[Sample], bool]) -> Anchor:
    pairs = [
        (sample, states)
        for sample, states in zip(anchor.samples, anchor.states, strict=True)
        if wanted(sample)
    ]
    return replace(
        anchor,
        samples=[replace(sample, anchor=number) for number, (sample, _) in enumerate(pairs)],
        states=[states for _, states in pairs],
    )


def is_prose(sample: Sample) -> bool:
    return "/text/" in sample.origin


def is_begun(sample: Sample) -> bool:
    return "/frame/" in sample.origin


def without_frames(plan: Plan, training: Training) -> None:
    """AdamW on the numbers of A themselves; A starts as it does by default."""
    assert isinstance(training.optimizer, FramedAdamW)
    training.optimizer.frames = {}


def without_either(plan: Plan, training: Training) -> None:
    without_prose(plan, training)
    without_frames(plan, training)


@dataclass(frozen=True, slots=True)
class Variant:
    options: Mapping[str, object] = field(default_factory=dict)
    change: Callable[[Plan, Training], None] = as_it_is


VARIANTS: Mapping[str, Variant] = {
    "the default": Variant(),
    "weight 3": Variant({"anchor_weight": 3.0}),
    "weight 12": Variant({"anchor_weight": 12.0}),
    "half the prompts": Variant({"anchor": 600, "anchor_batch_size": 6}),
    "rank 8": Variant({"lora_rank": 8, "lora_alpha": 16}),
    "without begun replies": Variant(change=without_begun),
    "without prose": Variant(change=without_prose),
    "prose alone": Variant(change=prose_alone),
    "without frames": Variant(change=without_frames),
    "without either": Variant(change=without_either),
    "all layers": Variant({"freeze_layers_ratio": 0.0}),
    "A drawn by lot, no frames": Variant(
        {
            "init_weights": "true",
            "freeze_layers_ratio": FIRST_LAYERS,
            "lora_rank": RANK,
            "lora_alpha": ALPHA,
            "learning_rate": AIMED_RATE,
        }
    ),
    "the base's replies, as rows": Variant(change=replay),
    "no anchor, rows of contrast instead": Variant({"anchor": 0}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    name: str
    seconds: float
    values: Mapping[str, float]


def measure(name: str, folder: Path) -> Finding:
    variant = VARIANTS[name]
    plan, training = prepare(NAME, AUTHOR, variant.options, num_updates=MOST_UPDATES, folder=folder)
    variant.change(plan, training)
    seconds = train(training)
    return Finding(name=name, seconds=seconds, values=ask(plan, training))


def ask(plan: Plan, training: Training) -> dict[str, float]:
    engine = NativeEngine(training.loaded, plan.renderer)
    persona = naming_of(plan.recipe).persona
    assert persona is not None
    paper = make_paper(persona, ExamOptions(suite="full", limit=max(ASKED.values())))
    judged = examine(
        engine, tuple(asked(paper.probes)), paper.judge, speakers={"tuned": ADAPTER}, seed=42
    )
    tell_wrong(judged)
    return {each.name: each.value for each in (*rates(judged), *drift(engine))}


def asked(probes: Sequence[Probe]) -> Iterator[Probe]:
    for topic, num in ASKED.items():
        yield from [probe for probe in probes if probe.topic == topic][:num]


def table(findings: Sequence[Finding]) -> str:
    titles = ("one run each", "training", *(kind.replace("_", " ") for kind in KINDS))
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for found in findings:
        shown = [f"{found.values[kind]:.3f}" for kind in KINDS]
        lines.append(f"| {found.name} | {found.seconds:.0f} s | {' | '.join(shown)} |")
    return "\n".join(lines)


def with_table(page: str, findings: Sequence[Finding]) -> str:
    """The page with this table in the place of its own, and all that stands round it."""
    head, _, rest = page.partition("| one run each |")
    _, _, tail = rest.partition("\n\n")
    return f"{head}{table(findings)}\n\n{tail}"


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
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), findings), encoding="utf-8")


if __name__ == "__main__":
    main()
