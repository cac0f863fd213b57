"""``selfhood sft``: plan, train, and say where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfhood import api, console
from selfhood.cli.plan import show_plan
from selfhood.machine import without_collecting
from selfhood.recipe import Recipe

if TYPE_CHECKING:
    from selfhood.training.loop import Outcome

ENDS = {
    "loss": "stopped early: the validation loss no longer fell",
    "passed": "stopped there because the identity passed its examination",
    "bound": "stopped at the bound: the identity has not passed its examination",
}


def run(recipe: Recipe) -> int:
    with without_collecting():
        plan = api.plan(recipe)
    show_plan(plan)
    outcome = api.train(plan)
    console.say(f"trained {outcome.num_updates} updates in {console.clock(outcome.seconds)}")
    say_why_it_ended(outcome)
    console.result(f"last_model_checkpoint: {outcome.last.path}")
    console.result(f"best_model_checkpoint: {outcome.best.path}")
    console.result(f"images_dir: {outcome.run.images}")
    console.say(f"next: selfhood infer --adapters {outcome.chosen.path}")
    return 0


def say_why_it_ended(outcome: Outcome) -> None:
    if outcome.end in ENDS:
        console.say(ENDS[outcome.end])
    if outcome.end == "bound":
        for fault in outcome.missing:
            console.say(f"  {fault}")
        console.say("more --max_steps trains on; selfhood eval says what it answers as it is")
