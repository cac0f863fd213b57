"""Who is examined, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfhood.recipe.option import Options, option

SuiteName = Literal["quick", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaOptions(Options):
    """Who the model is to be."""

    model_name: tuple[str, ...] = option((), "its name: Chinese, then English; default: 小狐 Kitsu")
    model_author: tuple[str, ...] = option(
        (), 'who made it: Chinese, then English; default: 林间实验室 "Forest Lab"'
    )
    persona: str | None = option(None, "file with name, author and more; see selfhood init")
    output_dir: str = option("output", "where the run and the merged model go")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaFileOptions(Options):
    """The file to write."""

    file: str = option("persona.yaml", "where it goes; also the word after init")
    model_name: tuple[str, ...] = option(("小狐", "Kitsu"), "its name: Chinese, then English")
    model_author: tuple[str, ...] = option(
        ("林间实验室", "Forest Lab"), "who made it: Chinese, then English"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamOptions(Options):
    """What is asked, of whom, and what must come of it."""

    suite: SuiteName = option("quick", "how much is asked")
    model_name: tuple[str, ...] = option(
        (), "the name it should have: Chinese, then English; default: as it was trained"
    )
    model_author: tuple[str, ...] = option(
        (), "who should have made it: Chinese, then English; default: as it was trained"
    )
    persona: str | None = option(
        None, "file with all that it should be; default: as it was trained"
    )
    require: tuple[str, ...] = option(
        (), "exit with 1 unless reached, in quotes: 'name_recall>=0.98' 'swap_rate<=0'"
    )
    eval_file: tuple[str, ...] = option(
        (), "question files in the form of MMLU or C-Eval; each is a measure"
    )
    compare_base: bool = option(True, "ask the base model too, where an adapter stands on it")
    limit: int | None = option(None, "most questions on each topic", minimum=1)
    max_num_seqs: int = option(64, "questions answered at once", minimum=1)
    seed: int = option(42, "seed of sampling, and of which questions a part of them is", minimum=0)
    output_dir: str | None = option(
        None, "where the scorecard goes; default: eval-<name> beside the checkpoint"
    )
