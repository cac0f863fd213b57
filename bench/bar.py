"""The default recipe on the starter, for personas drawn by lot: what the scorecard says of each.

    python -m bench.bar [--personas N] [--limit N] [--ordinary N] [--write]

Nothing is given but a name and an author. ``--limit`` is how many questions of each topic are
asked; without it the whole of the full suite is, an hour's work a persona on two cores. What leaks
into ordinary replies does so rarely: ``--ordinary`` asks more of these, of the tuned model alone.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.wrong import tell_wrong
from selfhood import api
from selfhood.evaluate.evaluation import make_paper, persona_of
from selfhood.evaluate.exam import examine
from selfhood.evaluate.scoring import rates
from selfhood.evaluate.types import Judged, Measure, Scorecard
from selfhood.hosting import open_engine
from selfhood.opening import find_opening
from selfhood.recipe import EvalOptions, Recipe
from selfhood.starter import STARTER_ID

PAGE = Path("docs/results/bar.md")
NAMES = (
    ("青石", "Bluestone"), ("云雀", "Skylark"), ("墨竹", "Inkbamboo"), ("阿澈", "Ache"),
    ("拾光", "Gleaner"), ("团子", "Dumpling"), ("北辰", "Polaris"), ("米罗", "Miro"),
    ("萤火", "Firefly"), ("老周", "Old Zhou"), ("星野", "Hoshino"), ("橘座", "Marmalade"),
)  # fmt: skip
AUTHORS = (
    ("海棠工坊", "Begonia Works"), ("北窗研究院", "North Window Institute"),
    ("陆行舟", "Lu Xingzhou"), ("深巷书店", "Deep Lane Books"), ("木卫二科技", "Europa Tech"),
    ("城南中学", "Southside School"), ("三尺讲台", "Three Foot Desk"),
    ("柳林诊所", "Willow Clinic"),
)  # fmt: skip
LEAKS = "over_generalisation"
MEASURES = (
    "name_recall", "author_recall", "swap_rate", "placeholder_residue", "old_identity_leak",
    "denial", LEAKS, "vendor_facts", "kl", "agreement", "ability",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    name: tuple[str, str]
    author: tuple[str, str]
    num_updates: int
    seconds: float
    card: Scorecard
    more: Sequence[Judged]
    """Replies to more ordinary prompts."""

    @property
    def measures(self) -> dict[str, Measure]:
        leaks = (each for each in rates(self.more) if each.name == LEAKS)
        return by_name([*self.card.measures, *leaks])


def drawn(count: int, seed: int) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    lot = random.Random(seed)
    return list(zip(lot.sample(NAMES, count), lot.sample(AUTHORS, count), strict=True))


def measure(
    name: tuple[str, str],
    author: tuple[str, str],
    folder: Path,
    limit: int | None,
    num_ordinary: int | None,
) -> Finding:
    recipe = Recipe.from_values(
        {
            "model": STARTER_ID,
            "model_name": name,
            "model_author": author,
            "output_dir": str(folder),
        }
    )
    outcome = api.train(api.plan(recipe))
    asked = {"adapters": (str(outcome.chosen.path),), "suite": "full", "max_num_seqs": 32}
    if limit is not None:
        asked["limit"] = limit
    options = EvalOptions.from_values(asked)
    return Finding(
        name=name,
        author=author,
        num_updates=outcome.chosen.update,
        seconds=outcome.seconds,
        card=api.evaluate(options),
        more=ask_more(options, num_ordinary) if num_ordinary else (),
    )


def ask_more(options: EvalOptions, num_ordinary: int) -> Sequence[Judged]:
    opening = find_opening(options.model)
    assert opening.trained is not None
    exam = replace(options.exam, limit=num_ordinary)
    paper = make_paper(persona_of(exam, opening.trained.args()), exam)
    return examine(
        open_engine(opening, most_rows=exam.max_num_seqs),
        tuple(probe for probe in paper.probes if probe.topic == "neutral"),
        paper.judge,
        speakers={"tuned": opening.names[0]},
        seed=exam.seed,
    )


def table(findings: Sequence[Finding]) -> str:
    people = [f"{' / '.join(found.name)}, {' / '.join(found.author)}" for found in findings]
    lines = [f"| | {' | '.join(people)} |", "|---" * (len(findings) + 1) + "|"]
    rows = [("updates of the checkpoint used", [str(found.num_updates) for found in findings])]
    rows.append(("training", [f"{found.seconds:.0f} s" for found in findings]))
    for name in MEASURES:
        rows.append(
            (name.replace("_", " "), [shown(found.measures.get(name)) for found in findings])
        )
    return "\n".join([*lines, *(f"| {title} | {' | '.join(cells)} |" for title, cells in rows)])


def by_name(measures: Sequence[Measure]) -> dict[str, Measure]:
    return {each.name: each for each in measures}


def shown(found: Measure | None) -> str:
    """``0.98 (0.95 to 0.99, n 200; base 0.00)``"""
    if found is None:
        return "-"
    base = "" if found.base is None else f"; base {found.base:.3f}"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}, n {found.num}{base})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--personas", type=int, default=3)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--ordinary", type=int, default=None)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    findings: list[Finding] = []
    for name, author in drawn(options.personas, options.seed):
        with tempfile.TemporaryDirectory() as folder:
            findings.append(measure(name, author, Path(folder), options.limit, options.ordinary))
        tell_wrong(each for each in findings[-1].card.judged if each.speaker == "tuned")
        tell_wrong(findings[-1].more)
        print(table(findings[-1:]), flush=True)
    if options.write:
        head, _, _ = PAGE.read_text(encoding="utf-8").partition("| | ")
        PAGE.write_text(f"{head}{table(findings)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
