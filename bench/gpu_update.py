"""Seconds and memory of an optimizer update on one GPU: selfhood's schedule against the plain loop.

    python -m bench.gpu_update [--out FILE] [--layers 28]

The model has Qwen2.5-7B-Instruct's shape and random weights in bfloat16 (speed and memory do not
depend on the values, and nothing has to be downloaded). The plain loop is what the tutorials'
flags mean elsewhere: batch 1, accumulation 16, activation checkpointing on, logits at every token.

    identity   16 rows of about 60 tokens, as the identity data sets have them
    mixed      rows of 60 (a third) and of 165 tokens (two thirds), as the tutorials' mix has them
    long       16 rows of 2,048 tokens
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.sides import Side, packed, plain
from selfhood.data.encode import Sample
from selfhood.model.adapters import attach, trainable
from selfhood.recipe import TunerOptions

SHAPE_7B: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
    "tie_word_embeddings": False,
}
SYSTEM_TOKENS = 14  # the chat template's common beginning with a short system line
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Medians over updates; memory is the peak that torch reserved, weights included."""

    seconds: float
    tokens: int
    memory_gib: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def make_model(layers: int) -> Any:
    from transformers import AutoModelForCausalLM, Qwen2Config

    config = Qwen2Config(num_hidden_layers=layers, **SHAPE_7B)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    return attach(model, TunerOptions(), base="random", seed=0).train()


def rows(lengths: Sequence[int], seed: int) -> list[Sample]:
    """Random tokens after a common beginning; the last 40% of a row are trained."""
    generator = random.Random(seed)
    begin = [generator.randrange(1000, 150000) for _ in range(SYSTEM_TOKENS)]
    samples = []
    for number, length in enumerate(lengths):
        ids = begin + [generator.randrange(1000, 150000) for _ in range(length - SYSTEM_TOKENS)]
        first = int(length * 0.6)
        trained = tuple(position >= first for position in range(length))
        samples.append(Sample(ids=tuple(ids), trained=trained, origin=f"random:{number}"))
    return samples


def measure(
    model: Any,
    update: Side,
    lengths: Sequence[int],
    repeats: int,
) -> Measure:
    weights = [weight for _, weight in trainable(model)]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for repeat in range(repeats + 1):
        samples = rows(lengths, seed=repeat)
        torch.cuda.synchronize()
        began = time.monotonic()
        update(model, samples)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        if repeat:  # the first one warms up
            seconds.append(time.monotonic() - began)
    return Measure(
        seconds=statistics.median(seconds),
        tokens=sum(lengths),
        memory_gib=torch.cuda.max_memory_reserved() / GIB,
    )


def gradient_error(model: Any) -> float:
    """Relative distance of the two sides' gradients on the same rows, in the model's own dtype."""
    sides: list[torch.Tensor] = []
    for update in (plain, packed(4096)):
        update(model, rows([60] * 16, seed=99))
        grads = [weight.grad.flatten().float() for _, weight in trainable(model)]  # type: ignore[union-attr]
        sides.append(torch.cat(grads))
        for _, weight in trainable(model):
            weight.grad = None
    return float((sides[0] - sides[1]).norm() / sides[0].norm())


def workloads() -> Iterator[tuple[str, list[int], int]]:
    generator = random.Random(0)
    yield "identity", [generator.randrange(40, 80) for _ in range(16)], 8
    yield "mixed", [60 if i % 3 == 0 else generator.randrange(90, 240) for i in range(16)], 8
    yield "long", [2048] * 16, 2


def report(layers: int, repeats_scale: int, budgets: Sequence[int]) -> str:
    model = make_model(layers)
    lines = [
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Python "
        f"{platform.python_version()}, {layers} layers, weights "
        f"{torch.cuda.memory_allocated() / GIB:.1f} GiB",
        "",
        "| rows | side | s per update | tokens/s | peak GiB | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, lengths, repeats in workloads():
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base = measure(model, plain, lengths, max(2, repeats // repeats_scale))
        lines.append(_line(name, "plain loop, checkpointing", base, base))
        model.gradient_checkpointing_disable()
        if name != "long":
            side = measure(model, plain, lengths, max(2, repeats // repeats_scale))
            lines.append(_line(name, "plain loop, no checkpointing", side, base))
        for budget in budgets:
            side = measure(model, packed(budget), lengths, repeats)
            lines.append(_line(name, f"schedule, {budget} tokens a pass", side, base))
        print("\n".join(lines), flush=True)
    lines += ["", f"gradient, schedule against plain loop in bfloat16: {gradient_error(model):.1e}"]
    return "\n".join(lines)


def _line(name: str, side: str, found: Measure, base: Measure) -> str:
    return (
        f"| {name} | {side} | {found.seconds:.3f} | {found.tokens_per_second:,.0f} "
        f"| {found.memory_gib:.1f} | {base.seconds / found.seconds:.1f}x |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--budgets", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    text = report(options.layers, 2, options.budgets)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
