"""``selfhood infer``: a talk at the terminal, or a file of questions."""

from __future__ import annotations

import sys

from selfhood import api, console
from selfhood.chat import Conversation
from selfhood.cli.batch import answer_file
from selfhood.cli.questions import read_questions, read_stdin
from selfhood.cli.talk import Talk
from selfhood.engine.sampling import resolve_sampling
from selfhood.recipe import InferOptions


def run(options: InferOptions) -> int:
    questions: tuple[Conversation, ...] = ()
    if options.sampling.val_dataset:
        questions = read_questions(options)
    elif options.sampling.result_path is not None:
        questions = read_stdin(sys.stdin)
    opening = api.find_opening(options.model)
    if options.sampling.merge_lora and opening.checkpoints:
        console.say("note: --merge_lora: the adapter answers as the merged model would")
    console.say(f"model    {opening.model_path}")
    for checkpoint in opening.checkpoints:
        console.say(f"adapter  {checkpoint.path}")
    if opening.system:
        console.say(f"system   {opening.system}")
    engine = api.open_engine(opening)
    sampling = resolve_sampling(options.sampling, engine.loaded.model.generation_config)
    speakers = opening.names or (None,)
    if questions:
        return answer_file(engine, questions, options, sampling, opening)
    return Talk(engine, sampling, speakers=speakers, options=options.sampling).run(sys.stdin)
