"""Seconds of an update: selfhood beside ms-swift and TRL, each as a command of its own.

    python -m bench.peers_update --write

The same rows in the same order, the starter model (0.5B), LoRA r 8 and alpha 32 on all linear
layers, 16 rows an update, on the CPU; the tools take turns. About an hour on two cores.
"""

from __future__ import annotations

from bench.peers.contest import Contest, hold, options_parser
from bench.peers.findings import UPDATE_COLUMNS, Findings, of, peak_gib, update_seconds
from bench.peers.ms_swift import MS_SWIFT
from bench.peers.page import Aim, bound_aim, ratio_aim
from bench.peers.rows import identity_rows, read_rows
from bench.peers.selfhood import SELFHOOD
from bench.peers.tool import RECIPE
from bench.peers.trl import TRL, TRL_BATCH, TRL_PADDING_FREE

NUM_ROWS = 108
PAGE = """\
# An update, side by side

`python -m bench.peers_update --write`, on {machine}.

{rows} of `identity` in the same order for every tool; LoRA r 8, alpha 32, no dropout, all linear
layers; 16 rows an update; {repeats} commands of each tool, in turns. Seconds are those from one
logged update to the next, by a stopwatch outside the tool; the first update of each command warms
up and is not in the median. Ratios are to selfhood. *peak GiB*: the command's largest process.

The loss of update 1, before anything is learnt, shows that the tools train the same: ms-swift and
TRL also train the line break after each reply, which is easy, so their mean is lower.

{sections}

## What was typed

{commands}

{tools}"""


def aims(findings: Findings) -> list[Aim]:
    own, swift = of(SELFHOOD, findings), of(MS_SWIFT, findings)

    def ratio(*tools: str) -> float:
        theirs = [found for found in findings if found.tool in tools]
        return update_seconds(theirs) / update_seconds(own)

    best = min(ratio(TRL_BATCH.name), ratio(TRL_PADDING_FREE.name))
    return [
        ratio_aim("4.5x faster than ms-swift (goal 6x)", at_least=4.5, found=ratio(MS_SWIFT.name)),
        ratio_aim("4.5x faster than TRL's defaults (goal 6x)", at_least=4.5, found=ratio(TRL.name)),
        ratio_aim("2.5x faster than TRL's best setting", at_least=2.5, found=best),
        bound_aim(
            "peak no higher than ms-swift's",
            at_most=peak_gib(swift),
            found=peak_gib(own),
            unit="GiB",
        ),
    ]


CONTEST = Contest(
    tools=(MS_SWIFT, TRL, TRL_BATCH, TRL_PADDING_FREE, SELFHOOD),
    recipe={**RECIPE, "max_steps": "4"},
    columns=UPDATE_COLUMNS,
    aims=aims,
    page=PAGE,
    file="peers_update.md",
)


def main() -> None:
    options = options_parser(__doc__).parse_args()
    rows = read_rows(options.data) if options.data else identity_rows(NUM_ROWS)
    hold(CONTEST, rows, options)


if __name__ == "__main__":
    main()
