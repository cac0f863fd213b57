"""The verbs. The command line calls exactly these; heavy imports wait until input is checked."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selfhood.continuing import settle
from selfhood.data.naming import Naming, naming_of, with_persona
from selfhood.engine.installed import check_backend
from selfhood.engine.types import MOST_AT_ONCE
from selfhood.errors import FlagError
from selfhood.hosting import generation_settings, open_engine, open_host
from selfhood.opening import check_model, find_opening, locate_model, sort_out, trained_model
from selfhood.processes import Place
from selfhood.recipe import (
    DeployOptions,
    EvalOptions,
    ExportOptions,
    ModelOptions,
    Recipe,
    RemoteOptions,
)
from selfhood.run import Checkpoint, Run, find_resumable
from selfhood.training.zero_config import check_sharing

if TYPE_CHECKING:
    from selfhood.engine.native import NativeEngine
    from selfhood.engine.openai import OpenAIEngine
    from selfhood.evaluate.types import Scorecard
    from selfhood.exporters.merged import Merged
    from selfhood.training.dose import Examiner
    from selfhood.training.loop import Outcome
    from selfhood.training.plan import Plan
    from selfhood.training.world import World

KEY = "SELFHOOD_API_KEY"


def plan(recipe: Recipe, *, num_processes: int | None = None) -> Plan:
    """Read and tokenise the data and lay the updates out; loads no weights. ``num_processes`` None
    are those that torchrun has started, or this one."""
    from selfhood.data.mixture import read_mixture  # a quarter of the start of verbs without data
    from selfhood.defaults import complete
    from selfhood.training.trackers import check_trackers

    if num_processes is None:
        num_processes = Place.from_environment(os.environ).size
    recipe = complete(settle(with_persona(recipe)))
    check_sharing(recipe.train, num_processes)
    check_model(recipe.model)
    check_trackers(recipe)
    mixture = read_mixture(recipe)
    model_path = locate_model(recipe.model)

    from selfhood.training.plan import make_plan

    return make_plan(recipe, mixture, model_path, num_processes=num_processes)


def check_data(recipe: Recipe) -> None:
    """Raise for a row or a name that cannot be trained on; loads nothing."""
    from selfhood.data.mixture import read_mixture

    read_mixture(recipe)


def check_names(recipe: Recipe) -> Naming:
    """What the recipe calls the model. Raise for what cannot be used, before anything is loaded."""
    return naming_of(recipe)


def train(plan: Plan) -> Outcome:
    """Load the model, attach an adapter, run the plan."""
    from selfhood.training.start import train_plan
    from selfhood.training.world import join_world

    examiner = _examiner(plan)
    options = plan.recipe.train
    with join_world() as world:
        if options.resume_from_checkpoint is None:
            run = _agreed(_new_run(plan.recipe), world)
            return train_plan(plan, run, world, examiner=examiner)
        checkpoint = find_resumable(options.resume_from_checkpoint, options.runs_folder)
        # What is saved from here on is the run itself, not that it was cut here once.
        recipe = replace(plan.recipe, train=replace(options, resume_from_checkpoint=None))
        run = _agreed(_run_of(checkpoint, recipe), world)
        return train_plan(replace(plan, recipe=recipe), run, world, checkpoint, examiner)


def _examiner(plan: Plan) -> Examiner | None:
    """Who decides when it is enough, where the recipe leaves that open."""
    persona = naming_of(plan.recipe).persona
    if plan.recipe.train.dose != "auto" or persona is None:
        return None
    from selfhood.evaluate.examiner import IdentityExaminer

    return IdentityExaminer(persona, plan.renderer, plan.layout, seed=plan.recipe.train.seed)


def load(options: ModelOptions) -> NativeEngine:
    """An engine for ``--model`` and ``--adapters``."""
    return open_engine(find_opening(options))


def connect(
    model: ModelOptions, remote: RemoteOptions, most_at_once: int = MOST_AT_ONCE
) -> OpenAIEngine:
    """The server at ``--url``, which knows ``--model`` by that name and is asked no more than so
    much at once."""
    if remote.url is None:
        raise FlagError("is missing", where="--url", hint="as in http://127.0.0.1:8000/v1")
    if model.adapters:
        raise FlagError("are the server's own", where="--adapters", hint="name one as --model")
    if model.model is None:
        raise FlagError("is missing", where="--model", hint="give the name it has at --url")
    from selfhood.engine.openai import OpenAIEngine  # what it takes to speak HTTP loads slowly

    key = remote.api_key or os.environ.get(KEY)
    return OpenAIEngine(
        remote.url,
        model=model.model,
        key=key,
        system=model.system,
        most_at_once=most_at_once,
    )


def merge(options: ExportOptions) -> Merged:
    """Adapter and base, or a model that was trained whole, as one model folder that is proved to
    answer the same."""
    model = sort_out(options.model)
    if model.quant_bits is not None:
        raise FlagError("no quantised model is written", where="--quant_bits", hint="drop it")
    if not model.adapters and trained_model(model) is None:
        raise FlagError("is missing", where="--adapters", hint="give the checkpoint to merge")
    if len(model.adapters) > 1:
        raise FlagError("one adapter is merged at a time", where="--adapters")
    opening = find_opening(model)

    from selfhood.exporters.merged import export_merged

    return export_merged(opening, options.merge)


def evaluate(options: EvalOptions) -> Scorecard:
    """Ask a checkpoint, a model or a server who it is and much else, and judge every reply."""
    if options.remote.url is not None:
        from selfhood.evaluate.evaluation import evaluate_server

        return evaluate_server(
            options, connect(options.model, options.remote, options.exam.max_num_seqs)
        )
    opening = find_opening(options.model)

    from selfhood.evaluate.evaluation import evaluate_checkpoint

    return evaluate_checkpoint(opening, options)


def deploy(options: DeployOptions, *, key: str | None) -> None:
    """Serve a model and its adapters until a signal ends it. Clients bring ``key``."""
    from selfhood.serve.exposure import check_exposure

    check_exposure(options.server.host, key)
    check_backend(options.backend)
    opening = find_opening(options.model)

    from selfhood.engine.sampling import resolve_sampling
    from selfhood.serve.deploy import Serving

    serving = Serving.prepare(opening, options, key=key)
    host = open_host(opening, options.backend)
    serving.run(host, resolve_sampling(options.sampling, generation_settings(opening)))


def _agreed(run: Run, world: World) -> Run:
    """Every process of a run writes, or waits for, the same folder."""
    return Run(Path(world.agree(str(run.path))))


def _run_of(checkpoint: Checkpoint, recipe: Recipe) -> Run:
    """The run of its newest checkpoint goes on in its folder; from an older one a new run starts,
    so that what came after it is not lost."""
    run = Run(checkpoint.path.parent)
    return run if run.checkpoints()[-1] == checkpoint else _new_run(recipe)


def _new_run(recipe: Recipe) -> Run:
    output = recipe.train.runs_folder
    if not recipe.train.add_version:
        return Run(output)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    stage = recipe.train.stage
    return Run.named(output, stamp=stamp if stage is None else f"{stamp}-stage{stage}")


__all__ = [
    "check_data",
    "check_names",
    "connect",
    "deploy",
    "evaluate",
    "find_opening",
    "generation_settings",
    "load",
    "merge",
    "open_engine",
    "open_host",
    "plan",
    "train",
]
