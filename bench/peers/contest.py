"""The tools in turns, tables of what they took, and a page about it in docs/results."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.environment import default_root, prepare
from bench.peers.findings import Column, Finding, table
from bench.peers.page import Aim, aims_table, commands, machine, model_folder, publish, tools_list
from bench.peers.race import end_on_signals, race
from bench.peers.rows import Turns, write_rows
from bench.peers.tool import Task, Tool
from selfhood.starter import STARTER_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A question to several tools.

    ``page`` has places for {machine}, {rows}, {repeats}, {sections}, {commands} and {tools}.
    """

    tools: Sequence[Tool]
    """The last is the one that the others are compared with."""
    recipe: Mapping[str, str]
    warm_up: Mapping[str, str] | None = None
    """A recipe for a command of each tool that nobody measures."""
    columns: Mapping[str, Column]
    aims: Callable[[Sequence[Finding]], list[Aim]]
    page: str
    file: str


def options_parser(description: str | None) -> argparse.ArgumentParser:
    """The flags that the contests share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dtypes", nargs="+", default=["bfloat16", "float32"])
    add("--updates", help="updates of a command")
    add("--repeats", type=int, default=2, help="commands of each tool")
    add("--data", type=Path, help="JSON lines of messages, in place of the rows of the page")
    add("--model", default=STARTER_ID, help="another Qwen2 model")
    add("--environments", type=Path, default=default_root(), help="where the tools are installed")
    add("--write", action="store_true", help="write the page into docs/results")
    return parser


def hold(contest: Contest, rows: Sequence[Turns], options: argparse.Namespace) -> None:
    """Run every tool with every dtype, and publish what came out."""
    end_on_signals()
    root, sections = options.environments, []
    for tool in contest.tools:
        prepare(tool.environment, root)
    steps = {} if options.updates is None else {"max_steps": options.updates}
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows", rows)
        for dtype in options.dtypes:

            def task(recipe: Mapping[str, str], dtype: str = dtype) -> Task:
                return Task(
                    model=model_folder(options.model),
                    rows=Path(folder) / "rows",
                    options={**recipe, "torch_dtype": dtype},
                )

            if contest.warm_up is not None:
                in_turns(contest.tools, task(contest.warm_up), repeats=1, root=root)
            asked = task({**contest.recipe, **steps})
            found = in_turns(contest.tools, asked, repeats=options.repeats, root=root)
            results = table(contest.tools, found, contest.columns), aims_table(contest.aims(found))
            sections.append("\n\n".join((f"## {dtype}", *results)))
            print(sections[-1], flush=True)
    page = contest.page.format(
        machine=machine(),
        rows=f"{len(rows)} rows" + (" of --data" if options.data else ""),
        repeats=options.repeats,
        sections="\n\n".join(sections),
        commands=commands(contest.tools, asked),
        tools=tools_list(contest.tools, root),
    )
    publish(contest.file, page, write=options.write)


def in_turns(tools: Sequence[Tool], task: Task, *, repeats: int, root: Path) -> list[Finding]:
    """Every tool's command ``repeats`` times; a machine that slows down slows all of them."""
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            for number, tool in enumerate(tools):
                found = race(tool, task, root, Path(folder) / f"{repeat}-{number}")
                findings.append(found)
                print(_progress(found), flush=True)
    return findings


def _progress(found: Finding) -> str:
    later = " ".join(f"{seconds:.2f}" for seconds in found.seconds_per_update)
    return (
        f"{found.tool}: first update after {found.first_update:.1f} s, then {later or 'no more'}; "
        f"{found.seconds:.1f} s in all, {found.peak_gib:.2f} GiB"
    )
