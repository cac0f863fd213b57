"""What commands took, and how it is told."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.peers.tool import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A logged update, and seconds from the start of the command."""

    update: int
    loss: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one command took."""

    tool: str
    stamps: tuple[Stamp, ...]
    seconds: float
    peak_gib: float
    """Of its largest process."""

    @property
    def first_update(self) -> float:
        """Seconds from the typed command to the end of the first update."""
        return self.stamps[0].at

    @property
    def seconds_per_update(self) -> tuple[float, ...]:
        """The first update, which warms up, is not among them."""
        return tuple(
            (later.at - earlier.at) / (later.update - earlier.update)
            for earlier, later in itertools.pairwise(self.stamps)
        )


Findings = Sequence[Finding]
Column = Callable[[Findings, Findings], str]
"""A cell, from the findings of a tool and of the one that all are compared with."""


def of(tool: Tool, findings: Findings) -> list[Finding]:
    return [found for found in findings if found.tool == tool.name]


def update_seconds(findings: Findings) -> float:
    """Median over all updates but the first of each command."""
    return statistics.median(_updates(findings))


def first_update(findings: Findings) -> float:
    """Median seconds from the typed command to the end of the first update."""
    return statistics.median(found.first_update for found in findings)


def whole_command(findings: Findings) -> float:
    return statistics.median(found.seconds for found in findings)


def peak_gib(findings: Findings) -> float:
    return max(found.peak_gib for found in findings)


UPDATE_COLUMNS: Mapping[str, Column] = {
    "s per update, median": lambda own, base: f"{update_seconds(own):.2f}",
    "fastest to slowest": lambda own, base: _spread(_updates(own)),
    "ratio": lambda own, base: f"{update_seconds(own) / update_seconds(base):.1f}x",
    "first update after": lambda own, base: f"{first_update(own):.1f} s",
    "whole command": lambda own, base: f"{whole_command(own):.1f} s",
    "peak GiB": lambda own, base: f"{peak_gib(own):.2f}",
    "loss of update 1": lambda own, base: f"{own[0].stamps[0].loss:.3f}",
}
COMMAND_COLUMNS: Mapping[str, Column] = {
    "whole command, median": lambda own, base: f"{whole_command(own):.1f} s",
    "fastest to slowest": lambda own, base: _spread([found.seconds for found in own]),
    "ratio": lambda own, base: f"{whole_command(own) / whole_command(base):.1f}x",
    "first update after": lambda own, base: f"{first_update(own):.1f} s",
    "peak GiB": lambda own, base: f"{peak_gib(own):.2f}",
}


def table(tools: Sequence[Tool], findings: Findings, columns: Mapping[str, Column]) -> str:
    """A line a tool; ratios are to the last one."""
    base = of(tools[-1], findings)
    lines = ["| tool | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for tool in tools:
        cells = [column(of(tool, findings), base) for column in columns.values()]
        lines.append(f"| {tool.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _updates(findings: Findings) -> list[float]:
    return [seconds for found in findings for seconds in found.seconds_per_update]


def _spread(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f}"
