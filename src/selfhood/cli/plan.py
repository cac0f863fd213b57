"""``selfhood plan``: everything that can be known before weights are loaded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from selfhood import api, console
from selfhood.cli.launch import find_launch
from selfhood.recipe import Recipe

if TYPE_CHECKING:
    from selfhood.training.plan import Plan

NUM_SHOWN = 3


def run(recipe: Recipe) -> int:
    plan = api.plan(recipe, num_processes=find_launch(os.environ).num_processes)
    show_plan(plan)
    show_rows(plan)
    return 0


def show_plan(plan: Plan) -> None:
    """Sources, tokens, updates and warnings, on stderr."""
    for share in plan.mixture.shares:
        parts = [f"{share.num_train} rows"]
        if share.num_train + share.num_val != share.num_rows:
            parts[0] += f" (of {share.num_rows})"
        if share.num_named:
            parts.append(f"{share.num_named} named")
        console.say(f"data     {share.spec}: {', '.join(parts)}")
    if plan.anchor.conversations:
        console.say(
            f"anchor   {len(plan.anchor.conversations)} prompts and texts, "
            f"{len(plan.anchor.rows(1))} an update"
        )
    lengths = plan.lengths
    console.say(
        f"tokens   {'about ' * plan.is_estimate}{lengths.mean:.0f} a row "
        f"({min(lengths.tokens)} to {max(lengths.tokens)}), {lengths.trained_share:.0%} trained"
        + (f"; {plan.num_deleted} rows too long, dropped" if plan.num_deleted else "")
        + (f"; {plan.num_truncated} rows cut" if plan.num_truncated else "")
    )
    if plan.val_samples:
        console.say(f"validate {len(plan.val_samples)} rows")
    written, computed, passes = plan.first_update()
    processes = f" on {plan.num_processes} processes" if plan.num_processes > 1 else ""
    console.say(
        f"updates  {plan.order.num_updates} of {plan.order.samples_per_update} rows{processes}; "
        "the first: "
        f"{written} tokens, {computed} after sharing, in {passes} pass{'es' * (passes > 1)}"
    )
    if plan.fit.forecast is not None:
        console.say(f"memory   {plan.fit.forecast}; {plan.fit.free / 1e9:.1f} GB free")
    for warning in plan.warnings:
        console.warn(warning)


def show_rows(plan: Plan) -> None:
    """The first rows as the model sees them: trained text in green."""
    for row in plan.mixture.train[:NUM_SHOWN]:
        console.say(f"\n{row.origin}")
        text = "".join(
            console.paint(segment.text, "32") if segment.trained else segment.text
            for segment in plan.renderer.segments(row)
        )
        console.say("\n".join(f"  | {line}" for line in text.split("\n")))
