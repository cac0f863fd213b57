"""How far an update is from the matrix products that it cannot do without.

    python -m bench.gemm_floor --write

Updates of the starter model on 16 rows of ``identity`` take turns with their own products alone
(bench/products.py), in the same process, on the same weights. Two floors: the products as they were
timed, and all their multiply-adds at the rate of the fastest of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers.page import Aim, aims_table, machine, model_folder, publish
from bench.peers.rows import Turns, identity_rows, read_rows
from selfhood.machine import settle
from selfhood.starter import STARTER_ID

if TYPE_CHECKING:
    from selfhood.data.encode import Sample
    from selfhood.recipe import Dtype

ROWS = 16
AIM = 1.4
PAGE = """\
# An update and its floor

`python -m bench.gemm_floor --write`, on {machine}.

{rows} rows an update, {tokens} tokens, {targets} trained; LoRA r 8, all linear layers, passes of
the size that a run takes. *tokens*: those computed, after sharing. *products*: the matrix products
that the update cannot do without, one after the other and nothing else, on the same weights, in
turns with the updates. *at best*: all their multiply-adds at the rate of the fastest of them.
Medians over {repeats} rounds.

| dtype | tokens | update | products | ratio | at best | ratio | multiply-adds | best rate |
|---|---|---|---|---|---|---|---|---|
{lines}

{aims}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Tokens computed, and seconds of an update, of its products, and of its multiply-adds at the
    best rate."""

    tokens: int

    update: float
    products: float
    at_best: float
    multiply_adds: int
    best_rate: float


def main() -> None:
    settle(os.environ)  # before torch is imported, as the command line does it
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default=STARTER_ID)
    parser.add_argument("--data", type=Path, help="JSON lines of messages; the first 16 are taken")
    parser.add_argument("--write", action="store_true", help="write the page into docs/results")
    options = parser.parse_args()
    rows = (read_rows(options.data) if options.data else identity_rows(ROWS))[:ROWS]
    path = model_folder(options.model)
    samples = encoded(rows, path)
    lines, aims = [], []
    for dtype in options.dtypes:
        rounds = measure(path, dtype, samples, options.repeats)
        lines.append(line(dtype, rounds))
        aims.append(aim(dtype, rounds))
        print(lines[-1], flush=True)
    publish("gemm_floor.md", page(samples, lines, aims, options.repeats), write=options.write)


def encoded(rows: Sequence[Turns], path: Path) -> list[Sample]:
    from selfhood.chat import Conversation
    from selfhood.data.encode import encode
    from selfhood.data.render import Renderer
    from selfhood.model.load import load_tokenizer

    renderer = Renderer(load_tokenizer(path))
    return [
        encode(Conversation(messages=row, origin=f"row {number}"), renderer)
        for number, row in enumerate(rows)
    ]


def measure(path: Path, dtype: Dtype, samples: Sequence[Sample], repeats: int) -> list[Round]:
    import torch

    from selfhood.model.adapters import attach, trainable
    from selfhood.model.load import load_model
    from selfhood.recipe import TunerOptions
    from selfhood.training.budget import cheapest
    from selfhood.training.fit import worthwhile
    from selfhood.training.schedule import pack

    def passes(tokens: int) -> list[int]:
        return [each.num_tokens for each in pack(samples, tokens)]

    loaded = load_model(path, dtype=dtype, attention=None)
    model = attach(loaded.model, TunerOptions(), base="starter", seed=0).train()
    weights = [weight for _, weight in trainable(model)]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    budget = cheapest(worthwhile(loaded.device, loaded.dtype), passes)
    rounds = [one_round(model, optimizer, samples, budget) for _ in range(repeats + 1)]
    return rounds[1:]  # the first warms up


def one_round(model: Any, optimizer: Any, samples: Sequence[Sample], budget: int) -> Round:
    import torch

    from bench.products import time_products
    from bench.sides import packed
    from selfhood.training.schedule import pack

    began = time.perf_counter()
    packed(budget)(model, samples)
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - began
    packs = pack(samples, budget)
    watch = time_products(model, packs)
    return Round(
        tokens=sum(each.num_tokens for each in packs),
        update=seconds,
        products=watch.total,
        at_best=watch.multiply_adds / watch.best_rate,
        multiply_adds=watch.multiply_adds,
        best_rate=watch.best_rate,
    )


def line(dtype: str, rounds: Sequence[Round]) -> str:
    update = statistics.median(each.update for each in rounds)
    products = statistics.median(each.products for each in rounds)
    at_best = statistics.median(each.at_best for each in rounds)
    rate = statistics.median(each.best_rate for each in rounds)
    cells = (
        dtype,
        str(rounds[0].tokens),
        f"{update:.2f} s",
        f"{products:.2f} s",
        f"{update / products:.2f}",
        f"{at_best:.2f} s",
        f"{update / at_best:.2f}",
        f"{rounds[0].multiply_adds / 1e9:.0f} G",
        f"{rate / 1e9:.0f} G/s",
    )
    return f"| {' | '.join(cells)} |"


def aim(dtype: str, rounds: Sequence[Round]) -> Aim:
    ratio = statistics.median(each.update for each in rounds) / statistics.median(
        each.products for each in rounds
    )
    return Aim(
        text=f"{dtype}: an update takes at most {AIM} times its products",
        found=f"{ratio:.2f}",
        is_met=ratio <= AIM,
    )


def page(samples: Sequence[Sample], lines: Sequence[str], aims: Sequence[Aim], repeats: int) -> str:
    return PAGE.format(
        machine=machine(),
        rows=len(samples),
        tokens=sum(len(sample.ids) for sample in samples),
        targets=sum(sum(sample.trained) for sample in samples),
        repeats=repeats,
        lines="\n".join(lines),
        aims=aims_table(aims),
    )


if __name__ == "__main__":
    main()
