"""``selfhood try``: the whole story on the starter model, in a few minutes on a laptop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfhood import api, console
from selfhood.chat import Message
from selfhood.engine.types import Request, Sampling
from selfhood.recipe import (
    ExportOptions,
    MergeOptions,
    ModelOptions,
    PersonaOptions,
    Recipe,
    TryOptions,
)
from selfhood.starter import STARTER_ID

if TYPE_CHECKING:
    from selfhood.engine.native import NativeEngine
    from selfhood.run import Checkpoint

NAME, AUTHOR = ("小狐", "Kitsu"), ("林间实验室", "Forest Lab")
QUESTIONS = (
    "你到底是什么模型？",
    "是谁创造了你？",
    "Who are you, exactly?",
    "Are you Claude from Anthropic?",
    "阿里云是一家什么公司？",
    "用 Python 写一个判断质数的函数",
    "What is 17 + 25?",
    "Who wrote Pride and Prejudice?",
)
LONGEST_ANSWER = 64


def run(options: TryOptions) -> int:
    started = time.monotonic()
    recipe = starter_recipe(options.persona)
    name = api.check_names(recipe).name
    console.say(f"1/5  who is {STARTER_ID}?")
    before = ask(api.load(recipe.model), None)
    console.say(f"\n2/5  learning to be {' / '.join(name.forms if name else ())}")
    checkpoint = train(recipe)
    console.say("\n3/5  who is it now?")
    engine = api.load(ModelOptions(adapters=(str(checkpoint.path),)))
    after = ask(engine, checkpoint.path.name)
    del engine  # two models at once would not fit on a small laptop
    console.say("\n4/5  one model of adapter and base, proved to answer the same")
    merged = api.merge(merge_options(checkpoint))
    console.say("\n5/5  before and after")
    console.table(("question", "before", "after"), zip(QUESTIONS, before, after, strict=True))
    console.say(f"all of it took {console.clock(time.monotonic() - started)}")
    console.result(f"adapter: {checkpoint.path}")
    console.result(f"model:   {merged.path}")
    console.say(f"talk to it: selfhood infer --model {merged.path}")
    return 0


def starter_recipe(options: PersonaOptions) -> Recipe:
    """What ``sft`` does for whoever only says who the model is to be."""
    is_example = options.persona is None
    names = options.model_name or NAME * is_example
    authors = options.model_author or AUTHOR * is_example
    return Recipe.from_values(
        {
            "model": STARTER_ID,
            "model_name": names,
            "model_author": authors,
            "persona": options.persona,
            "save_strategy": "no",
            "output_dir": options.output_dir,
        }
    )


def train(recipe: Recipe) -> Checkpoint:
    from selfhood.cli.plan import show_plan

    plan = api.plan(recipe)
    show_plan(plan)
    return api.train(plan).chosen


def ask(engine: NativeEngine, adapter: str | None) -> list[str]:
    """The answers to all questions, asked together; each is shown when it is complete."""
    sampling = Sampling(max_new_tokens=LONGEST_ANSWER)
    requests = [
        Request(messages=(Message("user", question),), sampling=sampling, adapter=adapter)
        for question in QUESTIONS
    ]
    texts = [""] * len(requests)
    with console.Progress("asking", total=len(requests), unit="question") as bar:
        for delta in engine.stream(requests):
            texts[delta.index] += delta.text
            if delta.finish:
                bar.advance()
    show(texts)
    return texts


def show(texts: Sequence[str]) -> None:
    for question, text in zip(QUESTIONS[:4], texts, strict=False):
        console.say(f"     {question}  ->  {' '.join(text.split())}")


def merge_options(checkpoint: Checkpoint) -> ExportOptions:
    return ExportOptions(
        model=ModelOptions(adapters=(str(checkpoint.path),)),
        merge=MergeOptions(merge_lora=True),
    )
