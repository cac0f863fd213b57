"""``selfhood infer``: a talk at the terminal, or a file of questions."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from selfhood import api, console
from selfhood.chat import Conversation
from selfhood.cli.batch import answer_file
from selfhood.cli.talk import Talk
from selfhood.engine.installed import check_backend
from selfhood.engine.sampling import resolve_sampling
from selfhood.engine.types import Host
from selfhood.opening import Opening
from selfhood.recipe import BackendOptions, InferOptions

OF_OTHER_BACKENDS = {spec.name for spec in fields(BackendOptions)} - {
    "infer_backend",
    "max_num_seqs",
}


def run(options: InferOptions) -> int:
    questions = asked(options)
    check_backend(options.backend)
    is_remote = options.backend.infer_backend == "openai"
    opening = at_server(options) if is_remote else api.find_opening(options.model)
    announce(opening, options)
    engine: Host = (
        api.connect(options.model, options.remote, options.backend.max_num_seqs)
        if is_remote
        else api.open_host(opening, options.backend)
    )
    settings = None if is_remote else api.generation_settings(opening)
    sampling = resolve_sampling(options.sampling, settings)
    try:
        if questions:
            return answer_file(engine, questions, options, sampling, opening)
        speakers = opening.names or (None,)
        return Talk(engine, sampling, speakers=speakers, options=options.sampling).run(sys.stdin)
    finally:
        engine.close()


def asked(options: InferOptions) -> tuple[Conversation, ...]:
    """The questions of batch mode; none in a talk, which does without what reads files."""
    sampling = options.sampling
    if not sampling.val_dataset and sampling.result_path is None:
        return ()
    from selfhood.cli.questions import read_questions, read_stdin

    return read_questions(options) if sampling.val_dataset else read_stdin(sys.stdin)


def at_server(options: InferOptions) -> Opening:
    """Nothing is opened here: the server knows the model by its name."""
    model = options.model.model or ""
    return Opening(
        model_path=Path(model),
        checkpoints=(),
        trained=None,
        system=options.model.system,
        options=options.model,
    )


def announce(opening: Opening, options: InferOptions) -> None:
    """Who will answer, and which words of the command say nothing to it."""
    backend = options.backend.infer_backend
    if options.sampling.merge_lora and opening.checkpoints:
        console.say("note: --merge_lora: the adapter answers as the merged model would")
    if backend == "native":
        for name in sorted(options.given & OF_OTHER_BACKENDS):
            console.say(f"note: --{name} says nothing to --infer_backend native")
    console.say(f"model    {opening.model_path}")
    if options.remote.url is not None:
        console.say(f"server   {options.remote.url}")
    for checkpoint in opening.checkpoints:
        console.say(f"adapter  {checkpoint.path}")
    if opening.system:
        console.say(f"system   {opening.system}")
