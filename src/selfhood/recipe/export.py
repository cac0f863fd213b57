"""What leaves the house, and how."""

from __future__ import annotations

from dataclasses import dataclass

from selfhood.recipe.option import Options, option


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOptions(Options):
    """What leaves the house, and how."""

    merge_lora: bool = option(False, "merge the adapter into the base model")
    output_dir: str | None = option(None, "folder to write; default: <checkpoint>-merged")
    exist_ok: bool = option(False, "replace the output folder if it is there")
    bake_system: bool = option(True, "make the trained system line the chat template's default")
