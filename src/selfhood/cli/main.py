"""``selfhood VERB ...``: find the verb, run it, turn failures into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from selfhood import console
from selfhood.cli.flags import help_text, parse_stages
from selfhood.cli.launch import INTERRUPTED, find_launch, launch
from selfhood.cli.stages import run_stages
from selfhood.errors import FlagError, PeerError, SelfhoodError
from selfhood.machine import settle
from selfhood.processes import Place, is_first_to_fail
from selfhood.recipe import (
    DeployOptions,
    EvalOptions,
    ExportOptions,
    InferOptions,
    InitOptions,
    Recipe,
    TryOptions,
    VerbOptions,
)
from selfhood.version import VERSION

TRAINS = "sft"  # the verb that several processes can do together


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A word of the command line: its options, and the module whose ``run`` does it."""

    name: str
    summary: str
    options: type[VerbOptions]
    module: str
    subject: str | None = None
    """The flag that a word right behind the verb stands for."""

    def runner(self) -> Callable[[Any], int]:
        run: Callable[[Any], int] = import_module(f"selfhood.cli.{self.module}").run
        return run


VERBS = (
    Verb(name="try", summary="ask, train, ask again, merge, compare", options=TryOptions,
         module="try_it"),
    Verb(name="init", summary="write a persona.yaml to fill in", options=InitOptions,
         module="init", subject="file"),
    Verb(name="sft", summary="train an identity", options=Recipe, module="sft"),
    Verb(name="plan", summary="say what sft would do, and load no weights", options=Recipe,
         module="plan"),
    Verb(name="infer", summary="talk, or answer a file of questions", options=InferOptions,
         module="infer"),
    Verb(name="deploy", summary="serve it, with OpenAI's protocol", options=DeployOptions,
         module="deploy"),
    Verb(name="eval", summary="measure who answers, and what else has changed",
         options=EvalOptions, module="evaluate"),
    Verb(name="export", summary="write a model that stands alone", options=ExportOptions,
         module="export"),
    Verb(name="merge-lora", summary="export --merge_lora true", options=ExportOptions,
         module="merge_lora"),
)  # fmt: skip


def entry() -> None:
    """The console script."""
    settle(os.environ)
    console.forgive_encodings()
    raise SystemExit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Exit code: 0 done, 1 failed, 2 the user's input, 130 interrupted."""
    place = Place.from_environment(os.environ)
    try:
        with console.silence() if place.rank else nullcontext():
            return _run(list(argv), place)
    except PeerError as error:  # whoever ended says why
        return error.exit_code
    except SelfhoodError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        console.say()
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a file that may not be read, a disk that is full
        if os.environ.get("SELFHOOD_DEBUG"):
            raise
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    except Exception as error:
        if os.environ.get("SELFHOOD_DEBUG"):
            raise
        return _fail(
            f"unexpected {type(error).__name__}: {error}; "
            "this is our mistake: set SELFHOOD_DEBUG=1 for the traceback, and please report it",
            1,
        )


def _fail(line: str, exit_code: int) -> int:
    """Say why, unless another process of this run has."""
    if is_first_to_fail(line, exit_code, os.environ):
        console.fail(line)
    return exit_code


def _run(argv: list[str], place: Place) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        console.result(_overview())
        return 0
    if argv[0] in ("-V", "--version", "version"):
        console.result(f"selfhood {VERSION}")
        return 0
    verb = find_verb(argv[0])
    if any(word in ("-h", "--help") for word in argv[1:]):
        console.result(help_text(verb.name, verb.summary, verb.options))
        return 0
    stages = parse_stages(verb.options, _words(verb, argv[1:]))
    if verb.name == TRAINS:
        asked = find_launch(os.environ)
        if asked.num_processes > 1:
            return launch(asked, argv)
    elif place.size > 1:
        raise FlagError("runs in one process", where=verb.name, hint=f"torchrun is for {TRAINS}")
    for notice in dict.fromkeys(notice for parsed in stages for notice in parsed.notices):
        console.say(f"note: {notice}")
    recipes = [parsed.options for parsed in stages]
    if len(recipes) > 1 and verb.name == TRAINS:
        return run_stages(verb.runner(), recipes)
    return max(verb.runner()(recipe) for recipe in recipes)


def _words(verb: Verb, words: list[str]) -> list[str]:
    if verb.subject is None or not words or words[0].startswith("-"):
        return words
    return [f"--{verb.subject}", *words]


def find_verb(word: str) -> Verb:
    name = word.strip().replace("_", "-")
    for verb in VERBS:
        if verb.name == name:
            return verb
    if name.startswith("-"):
        raise FlagError("a verb comes first", where=word, hint="as in selfhood sft --model ...")
    near = get_close_matches(name, [verb.name for verb in VERBS], n=1)
    hint = f"did you mean {near[0]}?" if near else "see selfhood --help"
    raise FlagError("unknown command", where=word, hint=hint)


def _overview() -> str:
    lines = ["selfhood: give a language model an identity of its own", ""]
    lines += [f"  selfhood {verb.name:<12} {verb.summary}" for verb in VERBS]
    lines += [
        "",
        "  selfhood VERB --help   all flags of a verb",
        "",
        "The shortest way:",
        "  selfhood try --model_name 小狐 Kitsu --model_author 林间实验室 'Forest Lab'",
    ]
    return "\n".join(lines)
