"""Tutorial 4's recipe from typed command to saved adapter: selfhood beside ms-swift.

    python -m bench.peers_command --write

108 rows, one epoch, 7 updates, with the tutorial's own flags: both tools get the same words. Half
an hour on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.peers.contest import Contest, hold, options_parser
from bench.peers.findings import (
    COMMAND_COLUMNS,
    Findings,
    first_update,
    of,
    peak_gib,
    whole_command,
)
from bench.peers.ms_swift import MS_SWIFT
from bench.peers.page import Aim, bound_aim, ratio_aim
from bench.peers.rows import identity_rows, read_rows
from bench.peers.selfhood import SELFHOOD
from bench.persona import SYSTEM

NUM_ROWS = 108
# As printed, but for the name of --tuner_type, which is --train_type in the tutorial and has gone
# from ms-swift 4, and for dropout, which is 0 in both tools.
TUTORIAL: Mapping[str, str] = {
    "tuner_type": "lora",
    "num_train_epochs": "1",
    "per_device_train_batch_size": "1",
    "per_device_eval_batch_size": "1",
    "learning_rate": "1e-4",
    "lora_rank": "8",
    "lora_alpha": "32",
    "lora_dropout": "0",
    "target_modules": "all-linear",
    "gradient_accumulation_steps": "16",
    "eval_steps": "50",
    "save_steps": "50",
    "save_total_limit": "2",
    "logging_steps": "5",
    "max_length": "2048",
    "system": SYSTEM,
    "warmup_ratio": "0.05",
    "dataloader_num_workers": "4",
}
PAGE = """\
# A whole command, side by side

`python -m bench.peers_command --write`, on {machine}.

Tutorial 4's recipe on {rows} of `identity`: one epoch, 16 rows an update, from the typed command
to the saved adapter; {repeats} commands of each tool, in turns, after one of a single update that
warms the disk's cache. *peak GiB*: the command's largest process. The persona's names are in the
rows, so the tutorial's flags for them are left out.

{sections}

## What was typed

{commands}

{tools}"""


def aims(findings: Findings) -> list[Aim]:
    swift, own = of(MS_SWIFT, findings), of(SELFHOOD, findings)
    ratio = whole_command(swift) / whole_command(own)
    seconds, peak, bound = first_update(own), peak_gib(own), peak_gib(swift)
    return [
        ratio_aim("whole command 5x faster than ms-swift's", at_least=5, found=ratio),
        bound_aim("first update within 8 s, warm", at_most=8, found=seconds, unit="s"),
        bound_aim("peak no higher than ms-swift's", at_most=bound, found=peak, unit="GiB"),
    ]


CONTEST = Contest(
    tools=(MS_SWIFT, SELFHOOD),
    recipe=TUTORIAL,
    warm_up={**TUTORIAL, "max_steps": "1"},
    columns=COMMAND_COLUMNS,
    aims=aims,
    page=PAGE,
    file="peers_command.md",
)


def main() -> None:
    options = options_parser(__doc__).parse_args()
    rows = read_rows(options.data) if options.data else identity_rows(NUM_ROWS)
    hold(CONTEST, rows, options)


if __name__ == "__main__":
    main()
