"""A page of results: what ran where, what was typed, what came out, which aims were met."""

from __future__ import annotations

import os
import platform
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.environment import versions
from bench.peers.tool import Task, Tool
from selfhood.opening import locate_model
from selfhood.recipe import ModelOptions

RESULTS = Path("docs/results")
WIDTH = 96
GLUE = "\u00a0"  # keeps a flag and its value on one line
FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Something the figures are to show."""

    text: str
    found: str
    is_met: bool

    def __str__(self) -> str:
        return f"| {self.text} | {self.found} | {'yes' if self.is_met else '**no**'} |"


def ratio_aim(text: str, *, at_least: float, found: float) -> Aim:
    return Aim(text=text, found=f"{found:.1f}x", is_met=found >= at_least)


def bound_aim(text: str, *, at_most: float, found: float, unit: str) -> Aim:
    return Aim(text=text, found=f"{found:.2f} {unit}", is_met=found <= at_most)


def aims_table(aims: Sequence[Aim]) -> str:
    return "\n".join(("| aim | measured | met |", "|---|---|---|", *map(str, aims)))


def model_folder(reference: str) -> Path:
    return locate_model(ModelOptions(model=reference)).absolute()


def machine() -> str:
    """``AMD EPYC, 2 cores, 24 GiB, avx512_bf16; Linux, Python 3.11.7``"""
    cpu = Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
    name = re.search(r"model name\s*: (.*)", cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    fast = [flag for flag in FAST_BFLOAT16 if flag in cpu] or ["no fast bfloat16"]
    parts = (name[1] if name else platform.machine(), f"{os.cpu_count()} cores")
    return (
        f"{', '.join((*parts, f'{memory:.0f} GiB', *fast))}; "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def tools_list(tools: Sequence[Tool], root: Path) -> str:
    """Versions, once for each environment."""
    environments = {tool.environment.name: tool.environment for tool in tools}
    return "\n".join(f"- {name}: {versions(it, root)}" for name, it in environments.items())


def commands(tools: Sequence[Tool], task: Task) -> str:
    """What was typed, with MODEL, ROWS and OUT for the paths."""
    task = Task(model=Path("MODEL"), rows=Path("ROWS"), options=task.options)
    blocks = []
    for tool in tools:
        words = shlex.join(tool.argv(task, Path("OUT")))
        glued = re.sub(r"(--\w+) (?!--)", rf"\1{GLUE}", words)
        lines = textwrap.wrap(glued, WIDTH, break_long_words=False, break_on_hyphens=False)
        blocks.append(f"# {tool.name}\n" + " \\\n    ".join(lines).replace(GLUE, " "))
    return "```\n" + "\n".join(blocks) + "\n```"


def publish(name: str, text: str, *, write: bool) -> None:
    print(text)
    if write:
        (RESULTS / name).write_text(text + "\n", encoding="utf-8")
