"""``selfhood merge-lora``: what ``export --merge_lora true`` is called in older tutorials."""

from __future__ import annotations

from dataclasses import replace

from selfhood.cli import export
from selfhood.recipe import ExportOptions


def run(options: ExportOptions) -> int:
    return export.run(replace(options, merge=replace(options.merge, merge_lora=True)))
