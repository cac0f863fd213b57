"""Replies that were judged wrong, for whoever watches a bench."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from selfhood.evaluate.types import Judged


def tell_wrong(judged: Iterable[Judged]) -> None:
    for each in judged:
        for verdict in each.verdicts:
            if not verdict.is_good:
                print(
                    f"  {verdict.measure}: {each.probe.question} -> {each.reply}", file=sys.stderr
                )
