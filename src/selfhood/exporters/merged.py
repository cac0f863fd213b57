"""Adapter and base -> one ordinary model folder, and the proof that it answers the same."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import fold
from selfhood.errors import FlagError, ProofError
from selfhood.exporters.probes import QUESTIONS, probe_requests
from selfhood.files import new_folder, write_json
from selfhood.model.adapters import load_adapter
from selfhood.model.load import DTYPES, Loaded, load_model, stored_dtype
from selfhood.opening import Opening
from selfhood.recipe import MergeOptions
from selfhood.run import ARGS, Checkpoint

# Two tokens whose log-probabilities differ by less than this are a tie that rounding may break:
# bfloat16 keeps 8 bits, so logits near 20 are a tenth apart.
TIE_NATS = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A merged model and what its proof found, over ``num_probes`` questions."""

    path: Path
    num_probes: int
    num_ties: int


def export_merged(opening: Opening, options: MergeOptions) -> Merged:
    """Merge in float32, cast once, write, load again as anybody would, compare the answers."""
    checkpoint = opening.checkpoints[0]
    out = _output_folder(checkpoint, options)
    loaded = load_model(opening.model_path, dtype="float32", attention=opening.options.attn_impl)
    asked = opening.options.torch_dtype
    dtype = stored_dtype(opening.model_path) if asked is None else DTYPES[asked]
    tuned = load_adapter(loaded.model, checkpoint.path)
    answers = _answers(replace(loaded, model=tuned), opening.system, adapter="default")
    with new_folder(out) as folder:
        merged = tuned.merge_and_unload().to(dtype)
        merged.config.dtype = dtype
        merged.save_pretrained(folder, safe_serialization=True)
        if options.bake_system and opening.system:
            loaded.tokenizer.chat_template = bake_system(
                loaded.tokenizer.chat_template, opening.system
            )
        loaded.tokenizer.save_pretrained(folder)
        if checkpoint.args():
            write_json(folder / ARGS, _merged_args(checkpoint))
        del merged, tuned, loaded
        gc.collect()
        baked = options.bake_system or not opening.system
        num_ties = prove(folder, answers, system=None if baked else opening.system)
    return Merged(path=out, num_probes=len(QUESTIONS), num_ties=num_ties)


def bake_system(template: str, system: str) -> str:
    """The chat template with ``system`` in place of its own default: a talk without a system
    message is rendered as if it began with this one."""
    import json

    quoted = json.dumps(system, ensure_ascii=False)
    return (
        "{%- if not messages or messages[0]['role'] != 'system' %}"
        f"{{%- set messages = [{{'role': 'system', 'content': {quoted}}}] + messages %}}"
        "{%- endif %}" + template
    )


def prove(folder: Path, answers: list[str], *, system: str | None) -> int:
    """Load the folder as a stranger would and ask again. Returns how many answers part at a tie;
    an answer that parts for any other reason raises ProofError."""
    loaded = load_model(folder, dtype="float32", attention=None)
    engine = NativeEngine(loaded, Renderer(loaded.tokenizer, system))
    replies = _answers(loaded, system, adapter=None)
    num_ties = 0
    for question, before, after, request in zip(
        QUESTIONS, answers, replies, probe_requests(None), strict=True
    ):
        if before == after:
            continue
        gap = _gap_where_they_part(engine, engine.renderer.prompt(request.messages), before, after)
        if gap > TIE_NATS:
            raise ProofError(
                f"the merged model answers {question!r} with {after!r}, the adapter with "
                f"{before!r} ({gap:.2f} nats apart)",
                where=str(folder),
                hint="nothing was written; please report this with the command",
            )
        num_ties += 1
    return num_ties


def _answers(loaded: Loaded, system: str | None, *, adapter: str | None) -> list[str]:
    engine = NativeEngine(loaded, Renderer(loaded.tokenizer, system))
    requests = probe_requests(adapter)
    return [reply.text for reply in fold(engine.stream(requests), len(requests))]


@torch.inference_mode()
def _gap_where_they_part(engine: NativeEngine, prompt: str, before: str, after: str) -> float:
    """Nats between the two next tokens, at the first token in which the answers differ."""
    tokenizer: Any = engine.loaded.tokenizer
    end = tokenizer.eos_token or ""
    ids_before, ids_after = (
        tokenizer.encode(text + end, add_special_tokens=False) for text in (before, after)
    )
    pairs = enumerate(zip(ids_before, ids_after, strict=False))
    part = next((number for number, (a, b) in pairs if a != b), None)
    if part is None:  # without an end mark: one breaks off where the other goes on
        return math.inf
    prefix = tokenizer.encode(prompt, add_special_tokens=False) + ids_after[:part]
    output = engine.loaded.model(torch.tensor([prefix], device=engine.loaded.device))
    scores = output.logits[0, -1].float().log_softmax(dim=-1)
    return abs(float(scores[ids_after[part]] - scores[ids_before[part]]))


def _output_folder(checkpoint: Checkpoint, options: MergeOptions) -> Path:
    if options.output_dir is not None:
        out = Path(options.output_dir).expanduser()
    else:
        out = checkpoint.path.with_name(f"{checkpoint.path.name}-merged")
    if out.exists() and not options.exist_ok:
        raise FlagError(
            f"{out} is there already",
            where="--output_dir",
            hint="add --exist_ok true to replace it",
        )
    return out


def _merged_args(checkpoint: Checkpoint) -> dict[str, Any]:
    """The run's args without the flags that would make a reader look for the adapter again."""
    return {
        name: value
        for name, value in checkpoint.args().items()
        if name not in ("adapters", "model", "model_revision", "torch_dtype")
    }
