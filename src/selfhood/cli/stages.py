"""Stages of one config file, one after the other: each trains on from where the last one ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from selfhood import api, console
from selfhood.cli.resume import is_wanted
from selfhood.errors import MissingError
from selfhood.recipe import Recipe
from selfhood.run import Run, find_resumable, runs_below

Runner = Callable[[Any], int]


def run_stages(train: Runner, stages: Sequence[Any]) -> int:
    """Train recipes in turn. The data of all are checked before the first one starts. With
    ``--resume_from_checkpoint true`` stages that ended are left alone."""
    for recipe in stages:
        api.check_data(recipe)
    before: Run | None = None
    for recipe in stages:
        number = recipe.train.stage
        console.say(f"\nstage {number} of {len(stages)}")
        run = _begun(recipe, after=before) if is_wanted(recipe) else None
        if run is not None and run.is_finished:
            console.say(f"has ended: {run.path}")
            before = run
        else:
            _train(train, _settled(recipe, run, before))
            before = runs_below(recipe.train.runs_folder)[0]
    return 0


def _train(train: Runner, recipe: Recipe) -> None:
    try:
        train(recipe)
    except KeyboardInterrupt:
        console.say("for the stages after it too: your command with --resume_from_checkpoint true")
        raise


def _begun(recipe: Recipe, *, after: Run | None) -> Run | None:
    """The newest run of this stage, if it is younger than that of the stage before."""
    runs = runs_below(recipe.train.runs_folder)
    younger = runs if after is None else runs[: runs.index(after)]
    return next((run for run in younger if run.args().get("stage") == recipe.train.stage), None)


def _settled(recipe: Recipe, run: Run | None, before: Run | None) -> Recipe:
    """The stage goes on with its own run, or begins with the adapter of the run before."""
    train = replace(recipe.train, resume_from_checkpoint=None)
    if run is not None:
        try:
            checkpoint = find_resumable(str(run.path), recipe.train.runs_folder)
            train = replace(train, resume_from_checkpoint=str(checkpoint.path))
        except MissingError:  # it ended before its first checkpoint
            pass
    model = recipe.model
    if before is not None and not model.adapters:
        # The base is the one it was trained on; a model that was trained whole is its own.
        model = replace(model, model=None, adapters=(str(before.path),))
    return replace(recipe, train=train, model=model)
