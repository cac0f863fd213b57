"""One change of the default recipe, tried: trained, asked, and its wrong replies told.

    python -m bench.trial [--name ZH EN] [--author ZH EN] [--updates N] [KEY=VALUE ...]

The starter learns the persona by the default recipe, without examinations so that all trials have
as many updates, with the given options in the place of its own. Then it is asked what bench/asked
holds, one in ``--every`` ordinary questions of the full suite, and rows of ``identity``, learnt and
not come to. Prints a line of the tables in docs/results/anchor.md; the replies judged wrong go to
stderr.
"""

from __future__ import annotations

import argparse
import ast
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.asked import probes
from bench.learnt import told
from bench.trained import drift, prepare, train
from bench.wrong import tell_wrong
from selfhood.data.naming import naming_of
from selfhood.defaults import MOST_UPDATES
from selfhood.engine.native import NativeEngine
from selfhood.evaluate import rules
from selfhood.evaluate.evaluation import make_paper
from selfhood.evaluate.exam import examine
from selfhood.evaluate.types import Judged, Probe, Verdict
from selfhood.model.adapters import ADAPTER
from selfhood.persona import Persona
from selfhood.recipe import ExamOptions

NAME, AUTHOR = ("小狐", "Kitsu"), ("林间实验室", "Forest Lab")
RULES = {"both": ("name", "author"), "user": ("neutral",), "ordinary": ("neutral",)}
COUNTED = {
    "name": ("name_recall",),
    "author": ("author_recall",),
    "both": ("name_recall", "author_recall"),
    "denial": ("denial",),
    "user": ("over_generalisation",),
    "ordinary": ("over_generalisation",),
    "neutral": ("over_generalisation",),
}  # fmt: skip
"""What makes a reply right; a swap or another identity makes every reply on itself wrong."""
NEVER = frozenset({"swap_rate", "old_identity_leak", "placeholder_residue"})


def measure(
    name: tuple[str, str],
    author: tuple[str, str],
    options: dict[str, object],
    num_updates: int,
    every: int,
    folder: Path,
) -> str:
    plan, training = prepare(name, author, options, num_updates=num_updates, folder=folder)
    seconds = train(training)
    engine = NativeEngine(training.loaded, plan.renderer)
    persona = naming_of(plan.recipe).persona
    assert persona is not None
    judged = examine(
        engine,
        (*probes(), *suite_probes(persona, every)),
        lambda probe, reply, base: verdicts(persona, probe, reply, base),
        speakers={"tuned": ADAPTER},
        seed=42,
    )
    tell_wrong(judged)
    num_learnt = num_updates * plan.order.samples_per_update
    rows = told(engine, persona, num_learnt=num_learnt)
    kl = next(each.value for each in drift(engine) if each.name == "kl")
    return " | ".join([*counts(judged), *rows, f"{kl:.3f}", f"{seconds:.0f} s"])


def suite_probes(persona: Persona, every: int) -> Sequence[Probe]:
    """One in so many ordinary questions of the full suite."""
    paper = make_paper(persona, ExamOptions(suite="full"))
    return [each for each in paper.probes if each.topic == "neutral"][::every]


def verdicts(persona: Persona, probe: Probe, reply: str, base: str) -> tuple[Verdict, ...]:
    """Those that count for the topic."""
    found = (
        verdict
        for topic in RULES.get(probe.topic, (probe.topic,))
        for verdict in rules.judge(persona, replace(probe, topic=topic), reply, base)
    )
    wanted = {*COUNTED[probe.topic], *NEVER}
    return tuple(verdict for verdict in found if verdict.measure in wanted)


def counts(judged: Sequence[Judged]) -> list[str]:
    """``49 of 50`` for each topic."""
    found = []
    for topic in COUNTED:
        group = [each for each in judged if each.probe.topic == topic]
        found.append(f"{sum(each.is_good for each in group)} of {len(group)}")
    return found


def read(value: str) -> object:
    """A number where it is one."""
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", nargs=2, default=NAME)
    parser.add_argument("--author", nargs=2, default=AUTHOR)
    parser.add_argument("--updates", type=int, default=MOST_UPDATES)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    options = {key: read(value) for key, value in (each.split("=", 1) for each in given.options)}
    with tempfile.TemporaryDirectory() as folder:
        who = tuple(given.name), tuple(given.author)
        line = measure(*who, options, given.updates, given.every, Path(folder))
    print(f"| {' '.join(given.options) or 'the default'}, {given.updates} | {line} |", flush=True)


if __name__ == "__main__":
    main()
