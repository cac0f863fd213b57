"""How much training an identity needs, and what the same dose breaks.

    python -m bench.dose [--only NAME ...] [--replies FILE]

Each line trains the starter model anew and asks questions that no training row holds, greedily and
with the training system line. Rows are selfhood's ``identity`` unless the recipe says otherwise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.held_out import QUESTIONS, Score, score
from bench.persona import PERSONA, SYSTEM
from selfhood import api
from selfhood.chat import Message
from selfhood.engine.types import Request, Sampling, fold
from selfhood.recipe import ModelOptions, Recipe
from selfhood.starter import STARTER_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """One recipe: what is trained, how often, how hard."""

    name: str
    dataset: tuple[str, ...]
    learning_rate: float
    epochs: float = 1.0


DOSES = (
    Dose(name="tutorial 4, 108 rows", dataset=("identity#108",), learning_rate=1e-4),
    Dose(name="tutorials' #500", dataset=("identity#500",), learning_rate=1e-4),
    Dose(name="108 rows, 3 epochs", dataset=("identity#108",), learning_rate=1e-4, epochs=3),
    Dose(name="256 rows, 5e-4", dataset=("identity#256",), learning_rate=5e-4),
    Dose(name="384 rows, 5e-4", dataset=("identity#384",), learning_rate=5e-4),
    Dose(name="384 rows, 3e-4", dataset=("identity#384",), learning_rate=3e-4),
    Dose(name="512 rows, 2e-4", dataset=("identity#512",), learning_rate=2e-4),
    Dose(name="768 rows, 3e-4", dataset=("identity#768",), learning_rate=3e-4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    dose: Dose
    num_updates: int
    seconds: float
    score: Score
    replies: tuple[str, ...]


def measure(dose: Dose, folder: Path) -> Finding:
    recipe = Recipe.from_values(
        {
            "model": STARTER_ID,
            "dataset": dose.dataset,
            "system": SYSTEM,
            "model_name": (PERSONA.name.zh, PERSONA.name.en),
            "model_author": (PERSONA.author.zh, PERSONA.author.en),
            "learning_rate": dose.learning_rate,
            "num_train_epochs": dose.epochs,
            "warmup_ratio": 0.05,
            "output_dir": str(folder),
        }
    )
    outcome = api.train(api.plan(recipe))
    replies = ask(outcome.last.path)
    return Finding(
        dose=dose,
        num_updates=outcome.num_updates,
        seconds=outcome.seconds,
        score=score(replies, PERSONA),
        replies=replies,
    )


def ask(adapter: Path) -> tuple[str, ...]:
    engine = api.load(ModelOptions(adapters=(str(adapter),)))
    sampling = Sampling(max_new_tokens=32)
    texts: list[str] = []
    for start in range(0, len(QUESTIONS), 16):
        requests = [
            Request(messages=(Message("user", text),), sampling=sampling, adapter=adapter.name)
            for text in QUESTIONS[start : start + 16]
        ]
        texts += [reply.text for reply in fold(engine.stream(requests), len(requests))]
    return tuple(texts)


def report(findings: Sequence[Finding]) -> str:
    lines = [
        "| rows | learning rate | updates | training | name | author | denial | leaks |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in findings:
        lines.append(
            f"| {found.dose.name} | {found.dose.learning_rate:g} | {found.num_updates} "
            f"| {found.seconds:.0f} s | {found.score.name:.2f} | {found.score.author:.2f} "
            f"| {found.score.denial:.2f} | {found.score.over_generalised:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[dose.name for dose in DOSES])
    parser.add_argument("--replies", type=Path, default=None, help="JSON lines with every reply")
    options = parser.parse_args()
    findings = []
    for dose in DOSES:
        if dose.name not in options.only:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = measure(dose, Path(folder))
        findings.append(found)
        print(report([found]).splitlines()[-1], f"({time.monotonic() - began:.0f} s)", flush=True)
        if options.replies:
            with options.replies.open("a", encoding="utf-8") as file:
                for question, reply in zip(QUESTIONS, found.replies, strict=True):
                    row = {"dose": dose.name, "question": question, "reply": reply}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(report(findings))


if __name__ == "__main__":
    main()
