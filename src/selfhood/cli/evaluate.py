"""``selfhood eval``: the scorecard on the terminal, and what is required of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfhood import api, console
from selfhood.evaluate.requirements import Requirement
from selfhood.evaluate.scorecard_file import write_scorecard
from selfhood.evaluate.scoring import faults
from selfhood.evaluate.types import Measure, Scorecard
from selfhood.recipe import EvalOptions, ExamOptions
from selfhood.run import Run

NUM_WORST = 10
LONGEST_SHOWN = 80


def run(options: EvalOptions) -> int:
    requirements = requirements_of(options.exam)
    card = api.evaluate(options)

    from selfhood.evaluate.report import write_report

    folder = folder_of(card, options.exam)
    path = write_scorecard(card, folder)
    page = write_report(card, folder, run=run_of(card))
    for line in measure_lines(card.measures):
        console.result(line)
    show_worst(card)
    missed = [each for each in requirements if not each.is_met(card)]
    for each in missed:
        console.fail(f"{each} is required and was not reached")
    console.result(f"scorecard: {path}")
    console.result(f"report: {page}")
    return 1 if missed else 0


def requirements_of(options: ExamOptions) -> list[Requirement]:
    """Raises FlagError for one that cannot be met, before anything is asked."""
    requirements = [Requirement.parse(text) for text in options.require]
    if requirements:
        from selfhood.evaluate.evaluation import measured

        known = measured(options)
        for each in requirements:
            each.check(known)
    return requirements


def run_of(card: Scorecard) -> Run | None:
    """The training that the adapter comes from, where its checkpoint still lies in it."""
    return Run(Path(card.adapters[0]).parent) if card.adapters else None


def folder_of(card: Scorecard, options: ExamOptions) -> Path:
    """``eval-<name>`` beside the checkpoint, so that nothing takes it for one."""
    if options.output_dir is not None:
        return Path(options.output_dir).expanduser()
    if card.adapters:
        checkpoint = Path(card.adapters[0])
        return checkpoint.parent / f"eval-{checkpoint.name}"
    return Path("output") / f"eval-{Path(card.model).name}"


def measure_lines(measures: Sequence[Measure]) -> list[str]:
    """Columns: measure, value, 95% interval, the base's value, of how many replies."""
    rows = [("measure", "value", "95% interval", "base", "n")]
    rows += [
        (
            f"{each.name} ({each.unit})" if each.unit else each.name,
            f"{each.value:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            "-" if each.base is None else f"{each.base:.3f}",
            str(each.num),
        )
        for each in measures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def show_worst(card: Scorecard) -> None:
    """The ten gravest answers of the tuned model, each with what is wrong with it."""
    bad = [each for each in card.judged if each.speaker == "tuned" and not each.is_good]
    if not bad:
        console.say("no answer was wrong")
        return
    console.say(f"the worst of {len(bad)} answers that are not right:")
    console.table(
        ("question", "answer", "why"),
        [
            (
                each.probe.question,
                _shortened(each.reply),
                "; ".join(verdict.why for verdict in faults(each)),
            )
            for each in bad[:NUM_WORST]
        ],
    )


def _shortened(reply: str) -> str:
    line = " ".join(reply.split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]} ..."
