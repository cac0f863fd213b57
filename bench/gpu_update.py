"""Seconds and memory of an update at Qwen2.5-7B's shape: selfhood's schedule and the plain loop.

    python -m bench.gpu_update --write                    LoRA on bfloat16 weights
    python -m bench.gpu_update --write --quantised        the same on nf4 weights (bitsandbytes)
    python -m bench.gpu_update --shape tiny               tries the script anywhere, in seconds

The model has the shape of Qwen2.5-7B-Instruct and random weights, made on the device: speed and
memory do not depend on the values, and nothing has to be downloaded. The plain loop is what the
tutorials' flags mean elsewhere: batch 1, accumulation 16, activation checkpointing on, logits at
every token.

    identity   16 rows of about 60 tokens, as the identity data sets have them
    mixed      rows of 60 (a third) and of about 165 tokens (two thirds), as in the tutorials' mix
    3k         16 rows that make one pass of 3,070 tokens
    long       16 rows of 2,048 tokens
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.peers.page import Aim, aims_table, bound_aim, machine, publish, ratio_aim
from bench.sides import Side, flex_batch, packed, plain
from selfhood.data.encode import Sample
from selfhood.model.adapters import attach, trainable
from selfhood.model.load import best_device
from selfhood.recipe import TunerOptions
from selfhood.training.metrics import peak_memory_gib

SYSTEM_TOKENS = 14  # the chat template's common beginning with a short system line
SHORTEST = 2 * SYSTEM_TOKENS
TOKEN_BUDGET = 4096

PAGE = """\
# An update of a 7B model on a GPU

`python -m bench.gpu_update --write{flag}`, {shape} shape, {weights}, on {device}; torch {torch};
{machine}.

LoRA r 8 on all linear layers, 16 rows an update, at most {budget} tokens a pass; medians after a
first update that warms up. *peak*: what torch reserved, weights ({resident:.1f} GiB) included.

| rows | side | s per update | tokens/s | peak GiB | ratio |
|---|---|---|---|---|---|
{lines}

{mix_rows} mixed rows, {mix_updates} updates: {mix_seconds:.1f} s of training.

The gradients of schedule and plain loop differ by {error:.1e} of their length, in bfloat16.

{aims}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's, and the rows that it is measured with."""

    config: Mapping[str, Any]
    shortening: int = 1
    """What the rows' lengths are divided by, so that a small machine is done soon."""
    mix_rows: int = 1500


SHAPES = {
    "7b": Shape(
        config={
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        }
    ),
    "tiny": Shape(
        config={
            "vocab_size": 1024,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        shortening=8,
        mix_rows=40,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Token counts of an update's rows, and how many updates are measured."""

    name: str
    lengths: Sequence[int]
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    name: str
    update: Side
    checkpointing: bool
    attention: str = "sdpa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Medians over updates; memory is the peak, weights included."""

    workload: str
    side: str
    seconds: float
    tokens: int
    peak_gib: float


PLAIN = Contender(name="plain loop, checkpointing", update=plain, checkpointing=True)
SCHEDULE = Contender(name="schedule", update=packed(TOKEN_BUDGET), checkpointing=False)
FRUGAL = Contender(name="schedule, checkpointing", update=packed(TOKEN_BUDGET), checkpointing=True)
CONTENDERS = (
    PLAIN,
    Contender(name="plain loop", update=plain, checkpointing=False),
    FRUGAL,
    SCHEDULE,
)
ON_A_GPU = (
    Contender(
        name="schedule, flex attention",
        update=packed(TOKEN_BUDGET, flex_batch),
        checkpointing=False,
        attention="flex_attention",
    ),
)


def workloads() -> list[Workload]:
    generator = random.Random(0)
    identity = [generator.randrange(40, 80) for _ in range(16)]
    return [
        Workload(name="identity", lengths=identity, repeats=8),
        Workload(name="mixed", lengths=list(itertools.islice(mixed_lengths(0), 16)), repeats=8),
        Workload(name="3k", lengths=[205] * 16, repeats=4),
        Workload(name="long", lengths=[2048] * 16, repeats=2),
    ]


def mixed_lengths(seed: int) -> Iterator[int]:
    generator = random.Random(seed)
    for number in itertools.count():
        yield 60 if number % 3 == 0 else generator.randrange(90, 240)


def make_model(shape: Shape, *, quantised: bool) -> Any:
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(
        **shape.config,
        max_position_embeddings=32768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=False,
    )
    with best_device():
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    if quantised:
        to_nf4(model.model)  # the head stays as it is, as transformers has it
        model.is_quantized = model.is_loaded_in_4bit = True  # as if it had been loaded so
    return attach(model, TunerOptions(), base="random", seed=0).train()


def to_nf4(module: Any) -> None:
    """Put 4-bit layers with the same weights in place of the linear layers, one after the other."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in module.named_children():
        if not isinstance(layer, torch.nn.Linear):
            to_nf4(layer)
            continue
        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=torch.bfloat16,
            quant_type="nf4",
            device="meta",
        )
        weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
        small.weight = weight.to(layer.weight.device)  # this is what quantises
        small.bias = layer.bias
        setattr(module, name, small)


def rows(lengths: Sequence[int], vocabulary: int, seed: int) -> list[Sample]:
    """Random tokens after a common beginning; the last 40% of a row are trained."""
    generator = random.Random(seed)
    begin = [generator.randrange(vocabulary) for _ in range(SYSTEM_TOKENS)]
    samples = []
    for number, length in enumerate(lengths):
        ids = begin + [generator.randrange(vocabulary) for _ in range(length - SYSTEM_TOKENS)]
        trained = tuple(position >= int(length * 0.6) for position in range(length))
        samples.append(Sample(ids=tuple(ids), trained=trained, origin=f"random:{number}"))
    return samples


class Bench:
    """A model and its optimizer, on which contenders take turns."""

    def __init__(self, model: Any, shape: Shape) -> None:
        self.model = model
        self.shape = shape
        self.device = next(model.parameters()).device
        self.weights = [weight for _, weight in trainable(model)]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4, fused=True)
        self.resident_gib = peak_memory_gib(self.device)
        if self.device.type == "cuda":
            self.resident_gib = torch.cuda.memory_allocated() / 2**30

    def measure(self, contender: Contender, workload: Workload) -> Measure:
        self._forget_peak()
        seconds = [
            self.seconds(contender, workload.lengths, seed=repeat)
            for repeat in range(workload.repeats + 1)
        ]
        return Measure(
            workload=workload.name,
            side=contender.name,
            seconds=statistics.median(seconds[1:]),
            tokens=sum(workload.lengths) // self.shape.shortening,
            peak_gib=peak_memory_gib(self.device),
        )

    def seconds(self, contender: Contender, lengths: Sequence[int], *, seed: int) -> float:
        """One whole optimizer update."""
        samples = self._rows(lengths, seed)
        self._prepare(contender)
        self._synchronise()
        began = time.perf_counter()
        contender.update(self.model, samples)
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._synchronise()
        return time.perf_counter() - began

    def run(self, contender: Contender) -> list[float]:
        """Seconds of every update of a run over mixed rows."""
        lengths = list(itertools.islice(mixed_lengths(1), self.shape.mix_rows))
        return [
            self.seconds(contender, lengths[first : first + 16], seed=first)
            for first in range(0, len(lengths), 16)
        ]

    def gradient_error(self) -> float:
        """Distance of the two sides' gradients on the same rows, over the length of one."""
        gradients = []
        for contender in (PLAIN, SCHEDULE):
            self._prepare(contender)
            contender.update(self.model, self._rows([60] * 16, seed=99))
            parts = [
                weight.grad.flatten().float() for weight in self.weights if weight.grad is not None
            ]
            gradients.append(torch.cat(parts))
            self.optimizer.zero_grad(set_to_none=True)
        return float((gradients[0] - gradients[1]).norm() / gradients[0].norm())

    def _rows(self, lengths: Sequence[int], seed: int) -> list[Sample]:
        shorter = [max(length // self.shape.shortening, SHORTEST) for length in lengths]
        return rows(shorter, self.model.config.vocab_size, seed)

    def _prepare(self, contender: Contender) -> None:
        self.model.set_attn_implementation(contender.attention)
        if contender.checkpointing:
            self.model.enable_input_require_grads()
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        else:
            self.model.gradient_checkpointing_disable()

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def line(found: Measure, base: Measure) -> str:
    return (
        f"| {found.workload} | {found.side} | {found.seconds:.3f} "
        f"| {found.tokens / found.seconds:,.0f} | {found.peak_gib:.1f} "
        f"| {base.seconds / found.seconds:.1f}x |"
    )


def aims(
    measures: Mapping[tuple[str, str], Measure], mix_seconds: float, *, quantised: bool
) -> list[Aim]:
    frugal = measures["3k", FRUGAL.name]
    if quantised:
        return [bound_aim("QLoRA in 8 GiB", at_most=8, found=frugal.peak_gib, unit="GiB")]
    ratio = measures["identity", PLAIN.name].seconds / measures["identity", SCHEDULE.name].seconds
    return [
        bound_aim("LoRA at 3k tokens in 18 GiB", at_most=18, found=frugal.peak_gib, unit="GiB"),
        ratio_aim("identity 8x faster than the plain loop", at_least=8, found=ratio),
        bound_aim("1,500 mixed rows in 60 s", at_most=60, found=mix_seconds, unit="s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="7b")
    parser.add_argument("--quantised", action="store_true", help="nf4 weights")
    parser.add_argument("--write", action="store_true", help="write the page into docs/results")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    bench = Bench(make_model(shape, quantised=options.quantised), shape)
    measures: dict[tuple[str, str], Measure] = {}
    lines = []
    contenders = CONTENDERS + (ON_A_GPU if bench.device.type == "cuda" else ())
    for workload, contender in itertools.product(workloads(), contenders):
        found = bench.measure(contender, workload)
        measures[workload.name, contender.name] = found
        lines.append(line(found, measures[workload.name, PLAIN.name]))
        print(lines[-1], flush=True)
    mix = bench.run(SCHEDULE)
    targets = aims(measures, sum(mix), quantised=options.quantised)
    text = PAGE.format(
        flag=" --quantised" if options.quantised else "",
        shape=options.shape,
        weights="nf4 weights" if options.quantised else "bfloat16 weights",
        device=torch.cuda.get_device_name() if bench.device.type == "cuda" else "the CPU",
        torch=torch.__version__,
        machine=machine(),
        budget=TOKEN_BUDGET,
        resident=bench.resident_gib,
        lines="\n".join(lines),
        mix_rows=shape.mix_rows,
        mix_updates=len(mix),
        mix_seconds=sum(mix),
        error=bench.gradient_error(),
        aims=aims_table(targets) if options.shape == "7b" else "",
    )
    name = "gpu_update_nf4.md" if options.quantised else "gpu_update.md"
    publish(name, text, write=options.write)


if __name__ == "__main__":
    main()
