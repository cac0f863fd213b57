"""Tokens a second of every backend on the starter model, one reply at a time and sixteen at once.

    python -m bench.engines [--vllm_python PATH] [--repeats 3] [--write]

The same prompts for all, greedy, at most 64 new tokens; a reply's tokens are counted, its prompt's
are not. Each engine is opened, asked once to warm up, and then timed; nothing else should run. Of
the repeats the median counts. vLLM is left out unless its interpreter is named.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers.page import machine
from selfhood import api
from selfhood.chat import Message
from selfhood.console import Progress, result, say
from selfhood.engine.types import Engine, Reply, Request, Sampling, fold
from selfhood.files import write_atomic
from selfhood.opening import Opening
from selfhood.recipe import BackendOptions, ModelOptions
from selfhood.starter import STARTER_ID

QUESTIONS = (
    "你是谁？", "Who are you?", "你叫什么名字？", "What is your name?",
    "是谁开发了你？", "Who made you?", "法国的首都是哪里？", "What is the capital of France?",
    "写一首关于秋天的短诗。", "Write a short poem about autumn.",
    "怎么煮米饭？", "How do I cook rice?", "解释一下什么是递归。", "Explain recursion.",
    "推荐三本书。", "Recommend three books.",
)  # fmt: skip
LONGEST = 64
NUM_ALONE = 4
ROOM = 1024
SYSTEM = "You are a helpful assistant."
Answerer = Callable[[Sequence[Request]], list[Reply]]

PAGE = """\
# Engines: tokens a second

`python -m bench.engines --write`, on {machine}.

The starter model (0.5B), {num} questions about itself and about other things, greedy, at most
{longest} new tokens. *one*: {alone} of them, one after the other; *sixteen*: all of them at once.
Tokens a second, medians of {repeats} repeats; ratios are to `native`, one at a time. Weights:
{dtype}, but for llama.cpp what its name says.

| engine | one | sixteen | one / native's one | sixteen / native's one | up after |
|---|---|---|---|---|---|
{rows}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens a second; ``sixteen`` is None for what answers one at a time only."""

    name: str
    one: float
    sixteen: float | None
    seconds_to_start: float


def asked() -> list[Request]:
    sampling = Sampling(max_new_tokens=LONGEST)
    return [
        Request(messages=(Message("system", SYSTEM), Message("user", question)), sampling=sampling)
        for question in QUESTIONS
    ]


def by_stream(engine: Engine) -> Answerer:
    return lambda requests: fold(engine.stream(requests), len(requests))


@contextmanager
def backend(opening: Opening, options: BackendOptions) -> Iterator[Answerer]:
    host = api.open_host(opening, options)
    try:
        yield by_stream(host)
    finally:
        host.close()


@contextmanager
def plain_generate(opening: Opening) -> Iterator[Answerer]:
    """transformers as everybody calls it, one prompt at a time."""
    import torch

    engine = api.open_engine(opening)
    model, tokenizer = engine.loaded.model, engine.loaded.tokenizer

    def answer(requests: Sequence[Request]) -> list[Reply]:
        return [one(request) for request in requests]

    @torch.inference_mode()
    def one(request: Request) -> Reply:
        prompt = engine.renderer.prompt(request.messages)
        inputs: Any = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1] :].tolist()
        ids = [token for token in new if token not in engine.ends]
        text = tokenizer.decode(ids)
        return Reply(text=text, num_tokens=len(ids), finish="stop", ids=tuple(ids))

    yield answer


def rate(answer: Answerer, requests: Sequence[Request], *, at_once: bool, repeats: int) -> float:
    """The median of ``repeats``, in tokens a second."""
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        batches = [requests] if at_once else [[request] for request in requests]
        num = sum(reply.num_tokens for batch in batches for reply in answer(batch))
        rates.append(num / (time.perf_counter() - started))
    return statistics.median(rates)


def measure(name: str, engine: Any, *, at_once: bool, repeats: int) -> Speed:
    requests = asked()
    started = time.perf_counter()
    with engine as answer:
        seconds = time.perf_counter() - started
        answer(requests[:1])
        one = rate(answer, requests[2 : 2 + NUM_ALONE], at_once=False, repeats=repeats)
        sixteen = rate(answer, requests, at_once=True, repeats=repeats) if at_once else None
    say(f"{name}: {one:.1f} alone, {sixteen or 0:.1f} together")
    return Speed(name=name, one=one, sixteen=sixteen, seconds_to_start=seconds)


def measure_all(options: argparse.Namespace) -> list[Speed]:
    opening = api.find_opening(ModelOptions(model=STARTER_ID, torch_dtype=options.dtype))

    def settings(**values: Any) -> BackendOptions:
        return BackendOptions(max_model_len=ROOM, max_num_seqs=len(QUESTIONS), **values)

    engines: list[tuple[str, Any]] = [
        ("native", backend(opening, settings())),
        ("transformers generate", plain_generate(opening)),
        ("llamacpp q8_0", backend(opening, settings(infer_backend="llamacpp"))),
        ("llamacpp f16", backend(opening, settings(infer_backend="llamacpp", gguf_type="f16"))),
    ]
    if options.vllm_python:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        chosen = settings(infer_backend="vllm", vllm_python=options.vllm_python, enforce_eager=True)
        engines.append(("vllm-cpu", backend(opening, chosen)))
    found = []
    with Progress("measuring", total=len(engines), unit="engine") as bar:
        for name, engine in engines:
            together = name != "transformers generate"
            found.append(measure(name, engine, at_once=together, repeats=options.repeats))
            bar.advance(note=name)
    return found


def row(speed: Speed, native: Speed) -> str:
    many = "-" if speed.sixteen is None else f"{speed.sixteen:.1f}"
    ratio = "-" if speed.sixteen is None else f"{speed.sixteen / native.one:.2f}"
    return (
        f"| {speed.name} | {speed.one:.1f} | {many} | {speed.one / native.one:.2f} | {ratio} "
        f"| {speed.seconds_to_start:.0f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm_python", default=os.environ.get("SELFHOOD_VLLM_PYTHON"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = measure_all(options)
    page = PAGE.format(
        machine=machine(),
        num=len(QUESTIONS),
        longest=LONGEST,
        alone=NUM_ALONE,
        repeats=options.repeats,
        dtype=options.dtype,
        rows="\n".join(row(speed, found[0]) for speed in found),
    )
    result(page)
    if options.write:
        write_atomic(Path("docs/results/engines.md"), page)


if __name__ == "__main__":
    main()
