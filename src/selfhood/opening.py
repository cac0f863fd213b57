"""What a checkpoint remembers: which model, which system line, where they are today."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfhood.errors import FlagError, MissingError
from selfhood.hub import check_reference, choose_hub, find_model
from selfhood.progress import Steps
from selfhood.recipe import ModelOptions
from selfhood.run import ADAPTER, ARGS, WHOLE_MODEL, Checkpoint, find_checkpoint

# No two such names look alike unless they are: of other scripts many letters look like Latin ones.
_NAME = re.compile(r"[A-Za-z0-9\u4e00-\u9fff][A-Za-z0-9._\-\u4e00-\u9fff]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Everything that answering needs, found but not yet loaded."""

    model_path: Path
    checkpoints: tuple[Checkpoint, ...]
    trained: Checkpoint | None
    """What training left and remembers: the first adapter, or the model itself."""
    system: str | None
    options: ModelOptions
    given_names: tuple[str | None, ...] = ()
    """Of the checkpoints, where the command line calls them something."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name an adapter: the one it was given, or its folder, told apart where two are
        called alike."""
        folders = [checkpoint.path for checkpoint in self.checkpoints]
        own = [folder.name for folder in folders]
        if len(set(own)) < len(own):
            own = [f"{folder.parent.name}/{folder.name}" for folder in folders]
        given = self.given_names or (None,) * len(own)
        return tuple(name or folder for name, folder in zip(given, own, strict=True))


def check_model(options: ModelOptions) -> None:
    """Raise for a ``--model`` that is missing or a path that is not there; asks no hub."""
    if options.model is None:
        raise FlagError("is missing", where="--model", hint="give a folder, a file or a hub id")
    check_reference(options.model)
    check_quantisation(options)


def check_quantisation(options: ModelOptions) -> None:
    """Raise for ``--quant_bits`` where nothing is installed that quantises."""
    if options.quant_bits is None:
        return
    if find_spec("bitsandbytes") is None:
        raise FlagError(
            "needs bitsandbytes", where="--quant_bits", hint='pip install "selfhood[qlora]"'
        )
    if Path(options.model or "").suffix == ".gguf":
        raise FlagError(
            "a .gguf file cannot be held in other 4 bits than its own",
            where="--quant_bits",
            hint="give the model as a folder",
        )


def locate_model(options: ModelOptions) -> Path:
    """The local folder or GGUF file of ``--model``; downloads it if need be."""
    check_model(options)
    with Steps() as steps:
        return find_model(
            options.model or "",
            hub=choose_hub(options.use_hf, os.environ),
            revision=options.model_revision,
            on_progress=steps,
        )


def find_opening(options: ModelOptions) -> Opening:
    """Find model and system line of ``--model`` and ``--adapters``; what the command line gives
    wins over what the checkpoint remembers."""
    named = [split_name(text) for text in options.adapters]
    options = sort_out(replace(options, adapters=tuple(folder for _, folder in named)))
    checkpoints = tuple(find_checkpoint(text) for text in options.adapters)
    if any(checkpoint.is_model for checkpoint in checkpoints):
        options, checkpoints = _as_model(options, checkpoints), ()
    trained = checkpoints[0] if checkpoints else trained_model(options)
    if trained is not None:
        options = restore(options, trained)
    return Opening(
        model_path=_locate_base(options, checkpoints),
        checkpoints=checkpoints,
        trained=trained,
        system=options.system,
        options=options,
        given_names=_different(name for name, _ in named) if checkpoints else (),
    )


def is_name(text: str) -> bool:
    """Whether an adapter may be called so: Latin letters, digits, Chinese characters, ``. _ -``."""
    return _NAME.fullmatch(text) is not None


def split_name(text: str) -> tuple[str | None, str]:
    """``fox=output/v0`` -> name and folder; a folder whose own path holds a ``=`` has no name."""
    name, _, folder = text.partition("=")
    if not folder or not is_name(name) or Path(text).expanduser().exists():
        return None, text
    return name, folder


def _different(names: Iterable[str | None]) -> tuple[str | None, ...]:
    found = tuple(names)
    for name in found:
        if name is not None and found.count(name) > 1:
            raise FlagError(f"two are called {name}", where="--adapters")
    return found


def voice_of(checkpoint: Checkpoint) -> tuple[str | None, bool | None]:
    """The system line it was taught under, and whether it thinks before it replies."""
    args = checkpoint.args()
    return args.get("system"), _thinks(args)


def _as_model(options: ModelOptions, checkpoints: tuple[Checkpoint, ...]) -> ModelOptions:
    """A run that trained the model itself, given as ``--adapters``."""
    if len(checkpoints) > 1 or options.model is not None:
        whole = next(each for each in checkpoints if each.is_model)
        raise FlagError(
            f"{whole.path} is a whole model, which answers alone",
            where="--adapters",
            hint=f"use --model {whole.path}",
        )
    return replace(options, model=str(checkpoints[0].path), adapters=())


def trained_model(options: ModelOptions) -> Checkpoint | None:
    """``--model``, where it is a folder that full training or an export left."""
    if options.model is None or options.adapters or not _holds(options.model, ARGS):
        return None
    return Checkpoint.at(options.model)


def sort_out(options: ModelOptions) -> ModelOptions:
    """Either flag takes either kind of folder: an adapter as --model, a model as --adapters."""
    if options.model is not None and not options.adapters and _holds(options.model, ADAPTER):
        return replace(options, model=None, adapters=(options.model,))
    if options.model is None and len(options.adapters) == 1:
        folder = options.adapters[0]
        if _holds(folder, WHOLE_MODEL) and not _holds(folder, ADAPTER):
            return replace(options, model=folder, adapters=())
    return options


def _holds(reference: str, file: str) -> bool:
    return (Path(reference).expanduser() / file).is_file()


def restore(options: ModelOptions, checkpoint: Checkpoint) -> ModelOptions:
    """What is not typed, as the checkpoint remembers it."""
    args = checkpoint.args()
    if options.model is None:
        options = replace(
            options,
            model=args.get("model") or checkpoint.base_model(),
            model_revision=options.model_revision or args.get("model_revision"),
        )
    if options.quant_bits is None and args.get("quant_bits") == 4:
        options = replace(
            options,
            quant_bits=4,
            bnb_4bit_quant_type=args.get("bnb_4bit_quant_type", "nf4"),
            bnb_4bit_use_double_quant=args.get("bnb_4bit_use_double_quant", True),
        )
    return replace(
        options,
        use_hf=args.get("use_hf") if options.use_hf is None else options.use_hf,
        torch_dtype=options.torch_dtype or args.get("torch_dtype"),
        attn_impl=options.attn_impl or args.get("attn_impl"),
        system=args.get("system") if options.system is None else options.system,
        enable_thinking=_thinks(args)
        if options.enable_thinking is None
        else options.enable_thinking,
    )


def _thinks(args: Mapping[str, Any]) -> bool | None:
    """What was trained here without a word on thoughts replies as it was taught: without them."""
    return bool(args.get("enable_thinking")) if args else None


def _locate_base(options: ModelOptions, checkpoints: tuple[Checkpoint, ...]) -> Path:
    if options.model is None and checkpoints:
        raise FlagError(
            f"{checkpoints[0].path} does not say which model it belongs to",
            where="--model",
            hint="name it",
        )
    try:
        return locate_model(options)
    except MissingError as error:
        moved = _moved(options.model or "", checkpoints)
        if moved is not None:
            return moved
        if not checkpoints:
            raise
        raise MissingError(
            f"its base model is not to be found ({error.what})",
            where=str(checkpoints[0].path),
            hint=f"say where {options.model} is now, with --model",
        ) from error


def _moved(reference: str, checkpoints: tuple[Checkpoint, ...]) -> Path | None:
    """A model folder that was moved together with the run: look for its name above the run."""
    name = Path(reference).name
    for checkpoint in checkpoints:
        for folder in checkpoint.path.resolve().parents:
            candidate = folder / name
            if (candidate / WHOLE_MODEL).is_file():
                return candidate
    return None
