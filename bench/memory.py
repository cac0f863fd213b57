"""The memory a plan forecasts against the peak that the run then has, on the starter model.

    python -m bench.memory [--out docs/results/memory.md]

Each case is a process of its own: `plan`, two updates (one for a long row), and the resident set's
peak as the system counted it. The rows are the built-in identity data, as many an update as fill
the token budget, or one long row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfhood.starter import STARTER_ID

GB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """``row`` is the length of a single long row in words; 0: identity rows."""

    dtype: str
    budget: int | None
    rows: int = 16
    row: int = 0
    checkpointing: bool | None = None

    @property
    def name(self) -> str:
        what = f"one row of {self.row} words" if self.row else f"{self.rows} rows an update"
        return f"{what}, {'recomputed, ' * (self.checkpointing is True)}{self.dtype}"


CASES = [
    Case(dtype=dtype, budget=budget, rows=rows)
    for dtype in ("bfloat16", "float32")
    for budget, rows in ((None, 16), (512, 24), (1024, 48), (2048, 96))
] + [
    Case(dtype="float32", budget=2048, rows=96, checkpointing=True),
    Case(dtype="bfloat16", budget=None, rows=1, row=2700),
    Case(dtype="bfloat16", budget=None, rows=1, row=2700, checkpointing=True),
    Case(dtype="float32", budget=None, rows=1, row=2700),
]


def run_here(case: Case) -> dict[str, Any]:
    """In this process: the forecast, then the run and its peak."""
    from selfhood import api
    from selfhood.recipe import Recipe
    from selfhood.training.memory import peak_resident

    with tempfile.TemporaryDirectory() as folder:
        dataset = f"identity#{2 * case.rows}"
        if case.row:
            long = Path(folder) / "long.jsonl"
            words = " ".join(f"w{number % 97}" for number in range(case.row // 2))
            long.write_text(json.dumps({"query": words, "response": words}) + "\n")
            dataset = str(long)
        plan = api.plan(
            Recipe.from_values(
                {
                    "model": STARTER_ID,
                    "dataset": (dataset,),
                    "model_name": () if case.row else ("小狐", "Kitsu"),
                    "model_author": () if case.row else ("林间实验室", "Forest Lab"),
                    "torch_dtype": case.dtype,
                    "token_budget": case.budget,
                    "gradient_checkpointing": case.checkpointing,
                    "gradient_accumulation_steps": case.rows,
                    "max_steps": 1 if case.row else 2,
                    "output_dir": folder,
                }
            )
        )
        assert plan.fit.forecast is not None
        api.train(plan)
    return {
        "budget": str(plan.fit.budget),
        "longest": plan.longest,
        "forecast": plan.fit.forecast.total,
        "terms": str(plan.fit.forecast),
        "measured": peak_resident(),
    }


def line(case: Case, found: dict[str, Any]) -> str:
    forecast, measured = found["forecast"] / GB, found["measured"] / GB
    return (
        f"| {case.name} | {found['budget']} | {found['longest']} | {forecast:.2f} "
        f"| {measured:.2f} | {forecast / measured - 1:+.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=int, default=None, help="run this one in this process")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(run_here(CASES[options.case])))
        return
    head = "| case | budget | longest row | forecast, GB | measured, GB | error |"
    lines = [head, "|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for number, case in enumerate(CASES):
        command = [sys.executable, "-m", "bench.memory", "--case", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        lines.append(line(case, found))
        print(lines[-1], found["terms"], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
