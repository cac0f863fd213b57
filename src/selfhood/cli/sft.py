"""``selfhood sft``: plan, train, and say where it is."""

from __future__ import annotations

from selfhood import api, console
from selfhood.cli.plan import show_plan
from selfhood.machine import without_collecting
from selfhood.recipe import Recipe

ENDS = {
    "loss": "stopped early: the validation loss no longer fell",
    "passed": "stopped there because the identity passed its examination",
    "bound": "stopped at the bound; the identity never passed: give more --max_steps, or see "
    "probes.jsonl for what is missing",
}


def run(recipe: Recipe) -> int:
    with without_collecting():
        plan = api.plan(recipe)
    show_plan(plan)
    outcome = api.train(plan)
    console.say(f"trained {outcome.num_updates} updates in {console.clock(outcome.seconds)}")
    if outcome.end in ENDS:
        console.say(ENDS[outcome.end])
    console.result(f"last_model_checkpoint: {outcome.last.path}")
    console.result(f"best_model_checkpoint: {outcome.best.path}")
    console.result(f"images_dir: {outcome.run.images}")
    console.say(f"next: selfhood infer --adapters {outcome.chosen.path}")
    return 0
