"""What the tutorials' own recipes give: each as its flags have it, by the scorecard.

    python -m bench.tutorials [--limit N] [--write]

The starter model, and the built-in identity in the place of theirs, which has to come from a hub;
small tasks with computed answers (bench/general.py) in the place of the general rows that two of
them mix in. Beside them the default recipe. ``--limit`` is how many questions of each topic are
asked, of the quick suite.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.bar import by_name, shown
from bench.general import write_general
from bench.persona import PERSONA, SYSTEM
from selfhood import api
from selfhood.evaluate.types import Scorecard
from selfhood.recipe import EvalOptions, Recipe
from selfhood.starter import STARTER_ID

PAGE = Path("docs/results/tutorials.md")
WHO = {
    "model": STARTER_ID,
    "model_name": (PERSONA.name.zh, PERSONA.name.en),
    "model_author": (PERSONA.author.zh, PERSONA.author.en),
}
THEIRS = {
    "num_train_epochs": 1.0,
    "learning_rate": 1e-4,
    "lora_rank": 8,
    "lora_alpha": 32,
    "gradient_accumulation_steps": 16,
    "warmup_ratio": 0.05,
    "system": SYSTEM,
}
NUM_GENERAL = 500  # of each language
MEASURES = (
    "name_recall", "author_recall", "swap_rate", "old_identity_leak", "denial",
    "over_generalisation", "kl", "ability",
)  # fmt: skip


def recipes(general: Path) -> Mapping[str, Mapping[str, Any]]:
    """By name; ``general`` is the folder of the general rows."""
    mixed = tuple(f"{general}/{language}.jsonl#{NUM_GENERAL}" for language in ("zh", "en"))
    return {
        "tutorial 4, 108 rows": {**THEIRS, "dataset": ("identity#108",)},
        "`#500` of identity alone": {**THEIRS, "dataset": ("identity#500",)},
        "tutorials 1 to 3, `#500` three times": {**THEIRS, "dataset": (*mixed, "identity#500")},
        "selfhood, names only": {},
    }


NAMES = tuple(recipes(Path()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    name: str
    num_updates: int
    seconds: float
    card: Scorecard


def measure(name: str, folder: Path, limit: int | None) -> Finding:
    write_general(folder, NUM_GENERAL)
    values = {**WHO, **recipes(folder)[name], "output_dir": str(folder / "output")}
    recipe = Recipe.from_values(values)
    outcome = api.train(api.plan(recipe))
    asked = {"adapters": (str(outcome.chosen.path),), "max_num_seqs": 32}
    if limit is not None:
        asked["limit"] = limit
    return Finding(
        name=name,
        num_updates=outcome.chosen.update,
        seconds=outcome.seconds,
        card=api.evaluate(EvalOptions.from_values(asked)),
    )


def line(found: Finding) -> str:
    measures = by_name(found.card.measures)
    cells = [found.name, str(found.num_updates), f"{found.seconds:.0f} s"]
    return f"| {' | '.join([*cells, *(shown(measures.get(name)) for name in MEASURES)])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE}")
    options = parser.parse_args()
    titles = ["recipe", "updates", "training", *(name.replace("_", " ") for name in MEASURES)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(line(measure(name, Path(folder), options.limit)))
        print(lines[-1], flush=True)
    if options.write:
        head, _, _ = PAGE.read_text(encoding="utf-8").partition("| recipe |")
        PAGE.write_text("\n".join([f"{head}{lines[0]}", *lines[1:], ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
