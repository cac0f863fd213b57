"""The starter, taught a persona by the default recipe with some of its options changed; without
examinations, so that what is compared has as many updates."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from selfhood import api
from selfhood.engine.native import NativeEngine
from selfhood.evaluate.evaluation import read_texts
from selfhood.evaluate.retention import Retention, passages_of
from selfhood.evaluate.types import Measure
from selfhood.model.adapters import ADAPTER
from selfhood.recipe import Recipe
from selfhood.run import Run
from selfhood.starter import STARTER_ID
from selfhood.training.dose import WARMING
from selfhood.training.loop import Training
from selfhood.training.metrics import Unheard
from selfhood.training.plan import Plan
from selfhood.training.start import open_training
from selfhood.training.world import ALONE


def prepare(
    name: tuple[str, str],
    author: tuple[str, str],
    options: Mapping[str, object],
    *,
    num_updates: int,
    folder: Path,
) -> tuple[Plan, Training]:
    recipe = Recipe.from_values(
        {
            "model": STARTER_ID,
            "model_name": name,
            "model_author": author,
            "dose": "auto",
            "max_steps": num_updates,
            "warmup_steps": WARMING,
            "output_dir": str(folder),
            **options,
        }
    )
    plan = api.plan(recipe)
    return plan, open_training(plan, Run(folder), ALONE, None)


def train(training: Training) -> float:
    """The seconds it took; the model is ready to speak afterwards."""
    began = time.monotonic()
    training.fit(Unheard())
    seconds = time.monotonic() - began
    training.loaded.model.eval()
    return seconds


def drift(engine: NativeEngine) -> Sequence[Measure]:
    """From the base, on all neutral passages of the evaluation."""
    passages = [row for texts in read_texts() for row in passages_of(texts)]
    return Retention(engine.loaded, engine.renderer, passages, adapter=ADAPTER).drift().measures()
