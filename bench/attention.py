"""Attention of one layer over a packed pass: in blocks, beside torch's fused kernel.

    python -m bench.attention --write

Forward and back, heads as the starter model has them. Both get the same mask; the fused kernel
computes what the mask then hides. The sides take turns; about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bench.peers.page import machine, publish
from selfhood.model.attention import attend
from selfhood.training.batch import additive_mask, visible

HEADS, KEY_HEADS, WIDTH = 14, 2, 64  # the starter's
LAYER = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // KEY_HEADS)
SIDES = {"fused": sdpa_attention_forward, "blocks": attend}
PAGE = """\
# Attention of a packed pass

`python -m bench.attention --write`, on {machine}.

One layer, forward and back, {heads} heads of {width}, {key_heads} of keys. Rows share a beginning
of {beginning} tokens and see nothing else of each other. Medians over {repeats} rounds; the sides
take turns.

| tokens | rows of | dtype | fused kernel | blocks | ratio |
|---|---|---|---|---|---|
{lines}"""
BEGINNING = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    tokens: int
    row: int
    dtype: torch.dtype

    def last(self) -> Tensor:
        """(T,): the last slot that sees each."""
        last = [self.tokens - 1] * BEGINNING
        while len(last) < self.tokens:
            length = min(self.row, self.tokens - len(last))
            last += [len(last) + length - 1] * length
        return torch.tensor(last)


CASES = [
    Case(tokens=tokens, row=row, dtype=dtype)
    for dtype in (torch.bfloat16, torch.float32)
    for tokens, row in ((256, 40), (512, 60), (1024, 60), (1024, 300), (2048, 1000))
]


def measure(case: Case, repeats: int) -> dict[str, float]:
    """Median seconds of each side."""
    mask = additive_mask(visible(case.last()), case.dtype)[None, None]

    def drawn(heads: int) -> Tensor:
        """As projections leave them: slot by slot."""
        whole = torch.randn(1, case.tokens, heads, WIDTH, dtype=case.dtype).requires_grad_()
        return whole.transpose(1, 2)

    inputs = drawn(HEADS), drawn(KEY_HEADS), drawn(KEY_HEADS)
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(repeats + 1):
        for name, side in SIDES.items():
            seconds[name].append(once(side, inputs, mask))
    return {name: statistics.median(found[1:]) for name, found in seconds.items()}


def once(side: Any, inputs: tuple[Tensor, ...], mask: Tensor) -> float:
    began = time.perf_counter()
    out, _ = side(LAYER, *inputs, mask)
    torch.autograd.grad(out, inputs, out)
    return time.perf_counter() - began


def line(case: Case, repeats: int) -> str:
    found = measure(case, repeats)
    dtype = str(case.dtype).removeprefix("torch.")
    fused, blocks = (1000 * found[name] for name in SIDES)
    return (
        f"| {case.tokens} | {case.row} | {dtype} | {fused:.1f} ms | {blocks:.1f} ms "
        f"| {fused / blocks:.1f}x |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="write the page into docs/results")
    options = parser.parse_args()
    page = PAGE.format(
        machine=machine(),
        heads=HEADS,
        key_heads=KEY_HEADS,
        width=WIDTH,
        beginning=BEGINNING,
        repeats=options.repeats,
        lines="\n".join(line(case, options.repeats) for case in CASES),
    )
    publish("attention.md", page, write=options.write)


if __name__ == "__main__":
    main()
