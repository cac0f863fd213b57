"""``selfhood export``: a model that stands alone, and the proof that it is the same person."""

from __future__ import annotations

from selfhood import api, console
from selfhood.errors import FlagError
from selfhood.recipe import ExportOptions


def run(options: ExportOptions) -> int:
    if not options.merge.merge_lora:
        raise FlagError("nothing to do", where="export", hint="add --merge_lora true")
    merged = api.merge(options)
    ties = f", {merged.num_ties} of them parting at a rounding tie" if merged.num_ties else ""
    console.say(f"proved: {merged.num_probes} answers, loaded again from disk, are the same{ties}")
    console.result(f"Successfully merged LoRA and saved in {merged.path}.")
    console.say(f"next: selfhood infer --model {merged.path}")
    return 0
