"""The examinations of a run with ``--dose auto``: when, by whom, and what they change."""

from __future__ import annotations

from dataclasses import replace

from selfhood.model.load import Loaded
from selfhood.training.dose import Dose, Examination, Examiner
from selfhood.training.world import World


class Examinations:
    """``dose`` is the course of the run, as far as the examinations so far have settled it;
    ``last`` is what the newest of them found."""

    def __init__(self, examiner: Examiner, dose: Dose, world: World) -> None:
        self.dose = dose
        self.last: Examination | None = None
        self._examiner = examiner
        self._world = world

    def hold(self, update: int, loaded: Loaded) -> Examination:
        """What was found after update number ``update``. Process 0 decides for all: they might
        round otherwise."""
        found = self._examiner.examine(loaded)
        mine = (found.has_passed, found.kl) if self._world.is_first else (False, 0.0)
        has_passed, kl = self._world.sum_numbers(*mine)
        if has_passed:
            self.dose = self.dose.passed(update)
        self.last = replace(found, has_passed=bool(has_passed), kl=kl)
        return self.last
