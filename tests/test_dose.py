"""``--dose auto``: when a run is examined, when it cools down, and when it ends."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from selfhood.cli.sft import say_why_it_ended
from selfhood.model.load import Loaded
from selfhood.run import Run
from selfhood.training.dose import COOLING, Dose, Examination, examined
from selfhood.training.examinations import Examinations
from selfhood.training.loop import Outcome
from selfhood.training.metrics import Metrics
from tests.tiny_training import row, tiny_training

DOSE = Dose(most=48, peak=1e-3)
BOUND = 150
FIRST, SECOND = sorted(examined(BOUND))


def test_examinations_grow_rarer() -> None:
    updates = sorted(examined(200))
    gaps = [after - before for before, after in pairwise(updates)]
    assert updates[0] >= 8
    assert gaps == sorted(gaps)


def test_the_rate_falls_and_once_the_identity_passes_it_falls_to_nothing() -> None:
    steady = [DOSE.rate(update) for update in range(3, 49)]
    assert steady == sorted(steady, reverse=True)
    passed = replace(DOSE, passed_at=20)
    falling = [passed.rate(update) for update in range(20, passed.last + 1)]
    assert falling == sorted(falling, reverse=True)
    assert 0 < falling[-1] < DOSE.rate(20 + COOLING) / COOLING


def test_a_run_that_never_passes_has_cooled_down_at_its_bound() -> None:
    assert DOSE.last == 48
    assert 0 < DOSE.rate(48) < 1e-5 < DOSE.rate(42) < DOSE.rate(3) <= 1e-3


@pytest.mark.parametrize("most", [1, 3, COOLING, COOLING + 1])
def test_no_update_has_a_rate_of_nothing_however_few_there_are(most: int) -> None:
    dose = Dose(most=most, peak=1e-3)
    assert all(dose.rate(update) > 0 for update in range(1, most + 1))
    assert dose.last == most


def test_after_passing_only_the_end_is_examined() -> None:
    passed = replace(DOSE, passed_at=17)
    due = [update for update in range(18, 49) if passed.is_due(update)]
    assert due[0] == passed.last == 17 + COOLING


class Pupil:
    """An examiner whose marks are known beforehand."""

    def __init__(self, marks: dict[int, Examination]) -> None:
        self.marks = marks
        self.asked = 0

    def examine(self, loaded: Loaded) -> Examination:
        self.asked += 1
        return list(self.marks.values())[min(self.asked, len(self.marks)) - 1]


def run(folder: Path, marks: dict[int, Examination], **options: Any) -> Outcome:
    training = tiny_training(
        folder,
        [row("Hi", "Hello!"), row("Who?", "Kitsu.")],
        max_steps=BOUND,
        load_best_model_at_end=True,
        learning_rate=1e-3,
        **options,
    )
    dose = Dose(most=BOUND, peak=1e-3)
    training.examinations = Examinations(Pupil(marks), dose, training.world)
    with Metrics(Run(folder / "run"), training.recipe) as metrics:
        return training.fit(metrics)


FAILED = Examination(kl=0.01)
PASSED = Examination(name=1.0, author=1.0, denial=1.0, leaks=0.0, kl=0.02, has_passed=True)


def test_a_run_ends_soon_after_the_identity_passed(tmp_path: Path) -> None:
    outcome = run(
        tmp_path, {FIRST: FAILED, SECOND: PASSED, SECOND + COOLING: replace(PASSED, kl=0.01)}
    )
    assert (outcome.end, outcome.num_updates) == ("passed", SECOND + COOLING)
    assert outcome.chosen.update == SECOND + COOLING
    assert (outcome.run.examinations).read_text().count("\n") == 3


def test_of_two_that_pass_the_one_that_drifted_less_is_used(tmp_path: Path) -> None:
    outcome = run(tmp_path, {FIRST: PASSED, FIRST + COOLING: replace(PASSED, kl=0.05)})
    assert outcome.last.update == FIRST + COOLING
    assert outcome.chosen.update == FIRST
    assert outcome.run.chosen() == outcome.chosen


def test_what_no_longer_passes_when_it_has_cooled_is_not_used(tmp_path: Path) -> None:
    outcome = run(tmp_path, {FIRST: PASSED, FIRST + COOLING: FAILED})
    assert outcome.chosen.update == FIRST


def test_a_run_never_goes_past_its_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tmp_path, {FIRST: FAILED, BOUND: replace(FAILED, missing=("name not said",))})
    assert (outcome.end, outcome.num_updates) == ("bound", BOUND)
    assert outcome.chosen.update == BOUND
    assert outcome.missing == ("name not said",)
    say_why_it_ended(outcome)
    assert "has not passed its examination\n  name not said\n" in capsys.readouterr().err
