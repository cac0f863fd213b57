"""One evaluation from its options to its scorecard; what is wrong with the input is said first."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from selfhood.chat import Language
from selfhood.console import say
from selfhood.data.naming import Naming
from selfhood.engine.openai import OpenAIEngine
from selfhood.errors import FlagError
from selfhood.evaluate.exam import examine, without_begun
from selfhood.evaluate.probes import make_probes
from selfhood.evaluate.rules import judge
from selfhood.evaluate.scoring import rates, worst_first
from selfhood.evaluate.suites import SUITES
from selfhood.evaluate.texts import EvaluationTexts, read_evaluation_texts
from selfhood.evaluate.types import Judged, Probe, Scorecard
from selfhood.opening import Opening, find_opening, open_engine
from selfhood.persona import Persona
from selfhood.recipe import EvalOptions, ExamOptions

KEY = "SELFHOOD_API_KEY"
LANGUAGES: tuple[Language, ...] = get_args(Language)


def evaluate_checkpoint(options: EvalOptions) -> Scorecard:
    """An adapter on its base, or a model that stands alone."""
    if options.model.system:
        raise FlagError(
            "says nothing to eval",
            where="--system",
            hint="it asks under four system lines of its own",
        )
    opening = find_opening(options.model)
    if len(opening.names) > 1:
        raise FlagError("one adapter is examined at a time", where="--adapters")
    persona = persona_of(options.exam, opening.trained.args() if opening.trained else {})
    probes = probes_for(persona, options.exam, read_texts())
    announce(persona, probes)
    engine = open_engine(opening)
    adapter = opening.names[0] if opening.names else None
    asks_base = options.exam.compare_base and adapter is not None
    judged = examine(
        engine,
        probes,
        partial(judge, persona),
        speakers={"tuned": adapter, "base": None} if asks_base else {"tuned": adapter},
        batch_size=options.exam.max_batch_size,
        seed=options.exam.seed,
    )
    return scorecard(judged, options, model=str(opening.model_path), adapters=paths_of(opening))


def evaluate_server(options: EvalOptions, url: str) -> Scorecard:
    """Whatever answers at ``url`` as ``--model``."""
    if options.model.adapters:
        raise FlagError("are the server's own", where="--adapters", hint="name one as --model")
    if options.model.model is None:
        raise FlagError("is missing", where="--model", hint="give the name it has at --url")
    persona = persona_of(options.exam, {})
    key = options.exam.api_key or os.environ.get(KEY)
    engine = OpenAIEngine(url, model=options.model.model, key=key)
    probes = without_begun(probes_for(persona, options.exam, read_texts()))
    announce(persona, probes)
    judged = examine(
        engine,
        probes,
        partial(judge, persona),
        speakers={"tuned": None},
        batch_size=options.exam.max_batch_size,
        seed=options.exam.seed,
    )
    return scorecard(judged, options, model=options.model.model, adapters=())


def persona_of(options: ExamOptions, trained: Mapping[str, Any]) -> Persona:
    """Who it should be: as typed, or else as the checkpoint remembers."""
    naming = Naming.from_flags(
        options.model_name or trained.get("model_name", ()),
        options.model_author or trained.get("model_author", ()),
    )
    if naming.persona is None:
        flag = "--model_name" if naming.name is None else "--model_author"
        raise FlagError(
            "is missing, and the checkpoint does not remember it",
            where=flag,
            hint="say who the model should be, as it was said in training",
        )
    return naming.persona


def read_texts() -> tuple[EvaluationTexts, ...]:
    return tuple(read_evaluation_texts(language) for language in LANGUAGES)


def probes_for(
    persona: Persona, options: ExamOptions, texts: Sequence[EvaluationTexts]
) -> tuple[Probe, ...]:
    return make_probes(
        persona, texts, SUITES[options.suite], limit=options.limit, seed=options.seed
    )


def announce(persona: Persona, probes: Sequence[Probe]) -> None:
    name, author = " / ".join(persona.name.forms), " / ".join(persona.author.forms)
    say(f"persona  {name}, made by {author}")
    say(f"asking   {len(probes)} questions")


def scorecard(
    judged: Sequence[Judged], options: EvalOptions, *, model: str, adapters: tuple[str, ...]
) -> Scorecard:
    return Scorecard(
        suite=options.exam.suite,
        model=model,
        adapters=adapters,
        measures=rates(judged),
        judged=worst_first(judged),
    )


def paths_of(opening: Opening) -> tuple[str, ...]:
    return tuple(str(checkpoint.path) for checkpoint in opening.checkpoints)


def folder_of(card: Scorecard, options: ExamOptions) -> Path:
    """``eval-<name>`` beside the checkpoint, so that nothing takes it for one."""
    if options.output_dir is not None:
        return Path(options.output_dir).expanduser()
    if card.adapters:
        checkpoint = Path(card.adapters[0])
        return checkpoint.parent / f"eval-{checkpoint.name}"
    return Path("output") / f"eval-{Path(card.model).name}"
