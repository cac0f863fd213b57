"""Seconds of an update of the starter model on this CPU: the schedule against plain loops.

    python -m bench.cpu_update [--dtype float32] [--repeats 5]

Sixteen rows of the built-in identity data, LoRA r 8 on all linear layers. The sides take turns, so
that a machine that slows down slows all of them; medians and ratios are printed.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from dataclasses import dataclass

import torch

from bench.persona import PERSONA, SYSTEM
from bench.sides import Side, packed, plain
from selfhood.data.corpus import identity_corpus
from selfhood.data.encode import encode
from selfhood.data.render import Renderer
from selfhood.model.adapters import attach, trainable
from selfhood.model.load import load_model
from selfhood.opening import locate_model
from selfhood.recipe import ModelOptions, TunerOptions
from selfhood.starter import STARTER_ID


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    update: Side
    checkpointing: bool


CONTENDERS = (
    Contender("plain loop, activation checkpointing", plain, True),
    Contender("plain loop", plain, False),
    Contender("selfhood", packed(2048), False),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default=None)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    path = locate_model(ModelOptions(model=STARTER_ID))
    loaded = load_model(path, dtype=options.dtype, attention=None)
    renderer = Renderer(loaded.tokenizer, SYSTEM)
    samples = [encode(row, renderer) for row in identity_corpus(PERSONA, seed=1)[:16]]
    model = attach(loaded.model, TunerOptions(), base="starter", seed=0).train()
    seconds: dict[str, list[float]] = {contender.name: [] for contender in CONTENDERS}
    for repeat in range(options.repeats + 1):
        for contender in CONTENDERS:
            if contender.checkpointing:
                model.enable_input_require_grads()
                model.gradient_checkpointing_enable({"use_reentrant": False})
            began = time.monotonic()
            contender.update(model, samples)
            if repeat:  # the first round warms up
                seconds[contender.name].append(time.monotonic() - began)
            model.gradient_checkpointing_disable()
            for _, weight in trainable(model):
                weight.grad = None
    report(seconds, samples_tokens=sum(len(sample.ids) for sample in samples), dtype=loaded.dtype)


def report(seconds: dict[str, list[float]], *, samples_tokens: int, dtype: torch.dtype) -> None:
    base = statistics.median(seconds[CONTENDERS[0].name])
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {dtype}"
    )
    print(f"16 rows, {samples_tokens} tokens\n")
    print("| side | s per update, median | fastest | slowest | ratio |\n|---|---|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f} | {max(values):.2f}"
        print(f"| {name} | {median:.2f} | {spread} | {base / median:.1f}x |")


if __name__ == "__main__":
    main()
