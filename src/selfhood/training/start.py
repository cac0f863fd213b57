"""A plan -> a run in progress -> its outcome: new, or going on from a checkpoint."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from safetensors.torch import load_file

from selfhood.console import say
from selfhood.data.naming import naming_of
from selfhood.errors import FlagError, InputError
from selfhood.files import sweep, write_json
from selfhood.model.adapters import describe, restore
from selfhood.model.load import best_device
from selfhood.model.tuned import load_tuned
from selfhood.recipe import Recipe, TunerOptions
from selfhood.run import ARGS, MOMENTS, Checkpoint, Run
from selfhood.training.anchor import make_anchor
from selfhood.training.checkpoint import TrainState, fingerprint
from selfhood.training.contrastive import aim, tell_apart
from selfhood.training.dose import Dose, Examiner
from selfhood.training.loop import Outcome, Training
from selfhood.training.metrics import Metrics, Unheard
from selfhood.training.optimizer import NO_FRAMES
from selfhood.training.plan import Plan
from selfhood.training.snapshot import set_random_state
from selfhood.training.world import World


def train_plan(
    plan: Plan,
    run: Run,
    world: World,
    checkpoint: Checkpoint | None = None,
    examiner: Examiner | None = None,
) -> Outcome:
    """Load the model of a plan with what it trains, new or the checkpoint's, and train it; with an
    examiner, until it is satisfied."""
    if world.is_first:
        sweep(run.path)  # also after one that was killed when nothing but tidying was left to do
    if checkpoint is not None:
        check_resumable(plan, checkpoint)
    if world.is_first:
        write_json(run.path / ARGS, plan.recipe.to_json())  # a full or read-only disk says so now
    training = open_training(plan, run, world, checkpoint, examiner)
    if checkpoint is not None:
        go_on(training, checkpoint)
    with open_metrics(training) as metrics:
        outcome = training.fit(metrics)
        metrics.summary(
            {
                "train_runtime": outcome.seconds,
                "train_loss": outcome.train_loss,
                "global_step": outcome.num_updates,
                "last_model_checkpoint": str(outcome.last.path),
                "best_model_checkpoint": str(outcome.best.path),
            }
        )
    return outcome


def open_metrics(training: Training) -> Metrics | Unheard:
    if not training.world.is_first:
        return Unheard()
    return Metrics(training.run, training.recipe, after=training.state.update)


def open_training(
    plan: Plan,
    run: Run,
    world: World,
    checkpoint: Checkpoint | None,
    examiner: Examiner | None = None,
) -> Training:
    """The model with what it trains, new or a checkpoint's, before the first update."""
    recipe = plan.recipe
    loaded = load_tuned(
        recipe, plan.model_path, dtype=plan.fit.dtype, tokenizer=plan.renderer.tokenizer
    )
    dtype = str(loaded.dtype).removeprefix("torch.")
    say(f"model    {describe(loaded.model)}, {dtype}, {loaded.device}")
    anchor = make_anchor(plan.anchor, loaded, plan.renderer, plan.layout)
    frames = NO_FRAMES
    if recipe.tuner.is_aimed:
        persona = naming_of(recipe).persona
        learnt, others = tell_apart(plan.samples, persona, loaded.tokenizer)
        frames = aim(loaded, learnt, [*others, *anchor.samples], plan.layout)
    if checkpoint is not None:
        restore(loaded.model, checkpoint.path)  # also over the A that was aimed: the base aims
    torch.manual_seed(recipe.train.seed + world.rank)  # dropout differs from process to process
    return Training(
        recipe,
        replace(loaded, device=best_device()),
        samples=plan.samples,
        val_samples=plan.val_samples,
        order=plan.order,
        budget=plan.fit.budget,
        run=run,
        world=world,
        anchor=anchor,
        frames=frames,
        examiner=examiner,
    )


def go_on(training: Training, checkpoint: Checkpoint) -> None:
    """Give a run with a checkpoint's weights all else that the checkpoint holds: the end is, to the
    byte, that of a run which was never cut."""
    memory = load_file(checkpoint.path / MOMENTS)
    training.descent.give_moments(memory)
    set_random_state(memory, training.loaded.device, training.world.rank)
    training.go_on_from(TrainState.of(checkpoint))
    say(f"going on from update {training.state.update} of {training.order.num_updates}")


def check_resumable(plan: Plan, checkpoint: Checkpoint) -> None:
    """Raise where the flags or the data are not the checkpoint's, or nothing is left to do."""
    check_same_tuner(plan.recipe, checkpoint)
    where, state = str(checkpoint.path), TrainState.of(checkpoint)
    if state.data != fingerprint(plan.samples, plan.order):
        raise InputError(
            "the data, their order or the rows of an update are not what they were",
            where=where,
            hint="give the same flags and files",
        )
    if not (checkpoint.path / MOMENTS).is_file():
        hint = f"start a new run from its weights with --adapters {where}"
        raise InputError("was saved with --save_only_model", where=where, hint=hint)
    if state.passed_at is not None and state.update >= _dose_of(plan, state).last:
        raise InputError("passed its examination and has cooled down", where=where)
    if state.update >= plan.order.num_updates:
        raise InputError(
            f"has all of its {state.update} updates",
            where=where,
            hint="give more --num_train_epochs or --max_steps",
        )


def _dose_of(plan: Plan, state: TrainState) -> Dose:
    peak = plan.recipe.train.peak_learning_rate
    return Dose(most=plan.order.num_updates, peak=peak, passed_at=state.passed_at)


def check_same_tuner(recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Raise where a flag asks for other weights than the checkpoint holds."""
    before = Recipe.from_values(checkpoint.args())
    for spec in fields(TunerOptions):
        now, then = getattr(recipe.tuner, spec.name), getattr(before.tuner, spec.name)
        if now != then:
            raise FlagError(f"was {then} in {checkpoint.path}", where=f"--{spec.name}")
    for name in ("anchor", "anchor_weight", "anchor_batch_size"):
        now, then = getattr(recipe.data, name), getattr(before.data, name)
        if now != then:
            raise FlagError(f"was {then} in {checkpoint.path}", where=f"--{name}")
    if recipe.model.model != before.model.model:
        raise FlagError(f"was {before.model.model} in {checkpoint.path}", where="--model")
