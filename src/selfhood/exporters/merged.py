"""Adapter and base, or a model trained whole -> one ordinary folder, proved to answer the same."""

from __future__ import annotations

import gc
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from selfhood.console import Progress, say, warn
from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Reply, fold
from selfhood.errors import FlagError, InputError, ProofError
from selfhood.exporters.probes import QUESTIONS, probe_requests
from selfhood.files import new_folder, write_json
from selfhood.model.adapters import load_adapter
from selfhood.model.load import DTYPES, Loaded, load_model, stored_dtype
from selfhood.opening import Opening
from selfhood.recipe import MergeOptions
from selfhood.run import ARGS, WHOLE_MODEL, Checkpoint

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
    """Merge in float32, cast once, write, load again as anybody would, compare the answers.

    Where 16 bits are not enough for the answers to be the same, and nobody asked for them, the
    model is written in float32.
    """
    checkpoint = _mergeable(opening)
    out = _output_folder(checkpoint, options)
    dtype = opening.options.torch_dtype
    if dtype is not None:
        return _export(opening, options, checkpoint, out, DTYPES[dtype])
    stored = stored_dtype(opening.model_path)
    try:
        return _export(opening, options, checkpoint, out, stored)
    except ProofError as error:
        if stored == torch.float32:
            raise
        warn(f"rounded to the base's {stored}, {error.what}; once more, in float32")
    return _export(opening, options, checkpoint, out, torch.float32)


def _export(
    opening: Opening, options: MergeOptions, checkpoint: Checkpoint, out: Path, dtype: torch.dtype
) -> Merged:
    baked = opening.system if options.bake_system else None
    with Progress("exporting", total=4, unit="step") as bar, new_folder(out) as folder:
        loaded = load_model(
            opening.model_path, dtype="float32", attention=opening.options.attn_impl
        )
        tuned, speaker = loaded.model, None
        if checkpoint.is_adapter:
            tuned, speaker = load_adapter(loaded.model, checkpoint.path), "default"
        bar.advance(note="asking the trained model")
        answers = _answers(replace(loaded, model=tuned), opening.system, adapter=speaker)
        bar.advance(note="merging")
        _write_model(folder, tuned, dtype)
        _write_tokenizer(folder, loaded.tokenizer, baked)
        if checkpoint.args():
            write_json(folder / ARGS, _merged_args(checkpoint))
        del tuned, loaded  # two models at once would not fit on a small laptop
        gc.collect()
        bar.advance(note="asking the merged model")
        num_ties = prove(folder, answers, system=None if baked else opening.system)
        bar.advance(note="")
    return Merged(path=out, num_probes=len(QUESTIONS), num_ties=num_ties)


def _mergeable(opening: Opening) -> Checkpoint:
    checkpoint = opening.trained
    assert checkpoint is not None, "the caller has made sure that there is one"
    if opening.options.quant_bits is not None:
        say("note: the adapter was trained on 4-bit weights; it is merged into the model's own")
    kind = checkpoint.adapter_config()["peft_type"] if checkpoint.is_adapter else "LORA"
    if kind != "LORA":
        raise InputError(
            "virtual tokens stand before a row; there is nothing to merge into weights",
            where=str(checkpoint.path),
            hint=f"ask it with selfhood infer --adapters {checkpoint.path}, or train with "
            "--tuner_type lora",
        )
    return checkpoint


def _write_model(folder: Path, tuned: Any, dtype: torch.dtype) -> None:
    merged = tuned.merge_and_unload() if hasattr(tuned, "merge_and_unload") else tuned
    merged = merged.to(dtype)
    merged.config.dtype = dtype
    merged.save_pretrained(folder, safe_serialization=True)


def _write_tokenizer(folder: Path, tokenizer: Any, system: str | None) -> None:
    if system:
        tokenizer.chat_template = bake_system(tokenizer.chat_template, system)
    tokenizer.save_pretrained(folder)


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


def prove(folder: Path, answers: list[Reply], *, system: str | None) -> int:
    """Load the folder as a stranger would and ask again. Returns how many answers part at a tie;
    an answer that parts for any other reason raises ProofError."""
    loaded = load_model(folder, dtype="float32", attention=None)
    engine = NativeEngine(loaded, Renderer(loaded.tokenizer, system))
    replies = _answers(loaded, system, adapter=None)
    num_ties = 0
    for question, before, after, request in zip(
        QUESTIONS, answers, replies, probe_requests(None), strict=True
    ):
        if before.ids == after.ids:
            continue
        gap = _gap_where_they_part(engine, engine.renderer.prompt(request.messages), before, after)
        if gap > TIE_NATS:
            raise ProofError(
                f"the merged model answers {question!r} with {after.text!r}, the adapter with "
                f"{before.text!r} ({gap:.2f} nats apart)",
                where="export",
                hint="nothing was written; please report this with the command",
            )
        num_ties += 1
    return num_ties


def _answers(loaded: Loaded, system: str | None, *, adapter: str | None) -> list[Reply]:
    engine = NativeEngine(loaded, Renderer(loaded.tokenizer, system))
    requests = probe_requests(adapter)
    return fold(engine.stream(requests), len(requests))


@torch.inference_mode()
def _gap_where_they_part(engine: NativeEngine, prompt: str, before: Reply, after: Reply) -> float:
    """Nats between the two next tokens, at the first token in which the answers differ."""
    pairs = enumerate(zip(before.ids, after.ids, strict=False))
    shorter = min(len(before.ids), len(after.ids))
    part = next((number for number, (a, b) in pairs if a != b), shorter)
    prompt_ids = engine.loaded.tokenizer.encode(prompt, add_special_tokens=False)
    ids = torch.tensor([[*prompt_ids, *after.ids[:part]]], device=engine.loaded.device)
    scores_V = engine.loaded.model(ids).logits[0, -1].float().log_softmax(dim=-1)
    # An answer that is at its end here went on with one of the end marks.
    nexts = [list(each.ids[part : part + 1]) or sorted(engine.ends) for each in (before, after)]
    before_score, after_score = (float(scores_V[ids].max()) for ids in nexts)
    return abs(after_score - before_score)


def _output_folder(checkpoint: Checkpoint, options: MergeOptions) -> Path:
    if options.output_dir is not None:
        out = Path(options.output_dir).expanduser()
    else:
        out = checkpoint.path.with_name(f"{checkpoint.path.name}-merged")
    if out.exists() and not (out / WHOLE_MODEL).is_file() and any(out.iterdir()):
        raise FlagError(
            f"{out} holds something that is not a model", where="--output_dir", hint="name another"
        )
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
        if name not in ("adapters", "model", "model_revision", "torch_dtype", "quant_bits")
    }
