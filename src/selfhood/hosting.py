"""An opening -> what answers: the model loaded here, or in the engine that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfhood.engine.types import MOST_AT_ONCE
from selfhood.opening import Opening
from selfhood.recipe import BackendOptions

if TYPE_CHECKING:
    import torch

    from selfhood.engine.native import NativeEngine
    from selfhood.engine.types import Host

ROOM = 0.9  # of the memory there is; the rest is for caches of keys and values


def open_engine(opening: Opening, *, most_rows: int = MOST_AT_ONCE) -> NativeEngine:
    """Load the model and its adapters; each adapter answers under its name, and ``most_rows``
    requests are answered at once."""
    from selfhood.data.render import Renderer
    from selfhood.engine.native import NativeEngine
    from selfhood.model.adapters import load_adapter
    from selfhood.model.load import load_model
    from selfhood.model.packed import pack_weights

    loaded = load_model(
        opening.model_path,
        dtype=opening.options.torch_dtype,
        attention=opening.options.attn_impl,
        quantisation=opening.options.quantisation,
    )
    model = loaded.model
    if _has_room_for_its_weights(model, loaded.device):
        pack_weights(model)
    for name, checkpoint in zip(opening.names, opening.checkpoints, strict=True):
        model = load_adapter(model, checkpoint.path, name=name)
    renderer = Renderer(loaded.tokenizer, opening.system, opening.options.enable_thinking)
    return NativeEngine(replace(loaded, model=model), renderer, most_rows=most_rows)


def _has_room_for_its_weights(model: Any, device: torch.device) -> bool:
    """Those of a file are mapped and take no memory that could not be let go of; packed they do."""
    from selfhood.training.memory import free_memory, resident

    size: int = sum(weight.nbytes for weight in model.parameters())
    return resident() + size <= ROOM * free_memory(device)


def open_host(opening: Opening, options: BackendOptions) -> Host:
    """What answers with the model and its adapters, by ``--infer_backend``."""
    match options.infer_backend:
        case "vllm":
            from selfhood.engine.vllm import VllmEngine

            return VllmEngine(
                opening.model_path,
                _folders(opening),
                system=opening.system,
                thinking=opening.options.enable_thinking,
                dtype=opening.options.torch_dtype,
                options=options,
            )
        case "llamacpp":
            from selfhood.engine.llamacpp import LlamaCppEngine

            return LlamaCppEngine(
                opening.model_path,
                _folders(opening),
                system=opening.system,
                thinking=opening.options.enable_thinking,
                options=options,
            )
        case _:
            return open_engine(opening, most_rows=options.max_num_seqs)


def generation_settings(opening: Opening) -> Any:
    """What the model itself says on how its replies are drawn: a transformers GenerationConfig."""
    from selfhood.model.load import load_generation

    return load_generation(opening.model_path)


def _folders(opening: Opening) -> dict[str, Path]:
    pairs = zip(opening.names, opening.checkpoints, strict=True)
    return {name: checkpoint.path for name, checkpoint in pairs}
