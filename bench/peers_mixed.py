"""Seconds of an update of a mixed recipe: identity rows among longer ones, up to 1,024 tokens.

    python -m bench.peers_mixed --write

As bench/peers_update.py; the longer rows are made here, in Chinese and English, always the same.
About an hour on two cores.
"""

from __future__ import annotations

import statistics

from tokenizers import Tokenizer

from bench.peers.contest import Contest, hold, options_parser
from bench.peers.findings import UPDATE_COLUMNS, Findings, of, update_seconds
from bench.peers.ms_swift import MS_SWIFT
from bench.peers.page import Aim, model_folder, ratio_aim
from bench.peers.rows import mixed_rows, num_tokens, read_rows
from bench.peers.selfhood import SELFHOOD
from bench.peers.tool import RECIPE
from bench.peers.trl import TRL, TRL_PADDING_FREE

NUM_ROWS = 108
PAGE = """\
# An update of mixed rows, side by side

`python -m bench.peers_mixed --write`, on {machine}.

{rows}: a third `identity`, two thirds longer chat in Chinese and English, LENGTHS. Everything
else is as in [peers_update.md](peers_update.md); {repeats} commands of each tool, in turns.

{sections}

## What was typed

{commands}

{tools}"""


def aims(findings: Findings) -> list[Aim]:
    own = update_seconds(of(SELFHOOD, findings))
    return [
        ratio_aim(
            f"2.5x faster than {tool.name}",
            at_least=2.5,
            found=update_seconds(of(tool, findings)) / own,
        )
        for tool in (MS_SWIFT, TRL)
    ]


def main() -> None:
    options = options_parser(__doc__).parse_args()
    tokenizer = Tokenizer.from_file(str(model_folder(options.model) / "tokenizer.json"))
    rows = read_rows(options.data) if options.data else mixed_rows(NUM_ROWS, tokenizer)
    lengths = [num_tokens([turn.content for turn in row], tokenizer) for row in rows]
    spread = f"{min(lengths)} to {max(lengths)} tokens of text"
    contest = Contest(
        tools=(MS_SWIFT, TRL, TRL_PADDING_FREE, SELFHOOD),
        recipe={**RECIPE, "max_steps": "4"},
        columns=UPDATE_COLUMNS,
        aims=aims,
        page=PAGE.replace("LENGTHS", f"{spread}, {statistics.fmean(lengths):.0f} on average"),
        file="peers_mixed.md",
    )
    hold(contest, rows, options)


if __name__ == "__main__":
    main()
