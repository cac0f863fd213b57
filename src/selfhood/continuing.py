"""Training on from a checkpoint: its weights and settings, a fresh optimizer, other data.

``--adapters CKPT`` says where to start. Model, system line and everything that shapes what is
trained come from there; the rest is the command's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from selfhood.errors import FlagError
from selfhood.opening import restore
from selfhood.recipe import PROMPT_TUNERS, Recipe, TunerOptions
from selfhood.run import Checkpoint, find_checkpoint

# How weights learn, not which: free to differ from stage to stage.
FREE = (
    "lorap_lr_ratio", "init_weights", "freeze_parameters", "freeze_parameters_regex",
    "freeze_parameters_ratio", "trainable_parameters", "trainable_parameters_regex",
)  # fmt: skip

# peft's guides train a handful of vectors much faster than matrices; ms-swift trains whole models
# at a tenth of an adapter's rate.
LEARNING_RATES = {
    "full": 1e-5,
    "prefix-tuning": 1e-2,
    "p-tuning": 1e-3,
    "prompt-tuning": 3e-2,
}


def settle(recipe: Recipe) -> Recipe:
    """The recipe with everything that ``--adapters`` and ``--tuner_type`` imply written out."""
    if recipe.model.adapters:
        recipe = _continue(recipe, _start_of(recipe))
    usual = LEARNING_RATES.get(recipe.tuner.tuner_type)
    if recipe.train.learning_rate is None and usual is not None:
        recipe = replace(recipe, train=replace(recipe.train, learning_rate=usual))
    return recipe


def _start_of(recipe: Recipe) -> Checkpoint:
    if len(recipe.model.adapters) > 1:
        raise FlagError("training goes on from one checkpoint", where="--adapters")
    path = recipe.model.adapters[0]
    given = Checkpoint.at(path)
    return given if given.is_model else find_checkpoint(path)


def _continue(recipe: Recipe, checkpoint: Checkpoint) -> Recipe:
    tuner = _tuner_of(checkpoint)
    _refuse_contradictions(recipe, tuner, checkpoint)
    free = {name: getattr(recipe.tuner, name) for name in FREE}
    if checkpoint.is_model:
        options = replace(recipe.model, model=str(checkpoint.path), adapters=())
    else:
        options = replace(recipe.model, adapters=(str(checkpoint.path),))
    return replace(recipe, model=restore(options, checkpoint), tuner=replace(tuner, **free))


def _refuse_contradictions(recipe: Recipe, then: TunerOptions, checkpoint: Checkpoint) -> None:
    for spec in fields(TunerOptions):
        now, was = getattr(recipe.tuner, spec.name), getattr(then, spec.name)
        is_said = spec.name in recipe.given or now != spec.default
        if spec.name not in FREE and is_said and now != was:
            raise FlagError(
                f"is {_shown(was)} in {checkpoint.path}, whose weights are trained on",
                where=f"--{spec.name}",
                hint="leave it out, or train a new adapter without --adapters",
            )
    if checkpoint.is_model and recipe.model.model is not None:
        raise FlagError(
            f"{checkpoint.path} is a whole model itself", where="--model", hint="leave it out"
        )


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _tuner_of(checkpoint: Checkpoint) -> TunerOptions:
    """What shaped its weights: peft's own file says so, whichever tool wrote it; only how targets
    were spelled is the recipe's."""
    if checkpoint.is_model:
        return TunerOptions(tuner_type="full")
    config = checkpoint.adapter_config()
    kind = str(config.get("peft_type")).lower().replace("_", "-")
    for tuner in PROMPT_TUNERS:
        if tuner == kind:
            return TunerOptions(tuner_type=tuner, num_virtual_tokens=config["num_virtual_tokens"])
    if kind != "lora":
        raise FlagError(
            f"{checkpoint.path} holds an adapter of the kind {kind}", where="--adapters"
        )
    return TunerOptions(
        lora_rank=config["r"],
        lora_alpha=config["lora_alpha"],
        lora_dropout=config.get("lora_dropout") or 0.0,
        use_dora=bool(config.get("use_dora")),
        use_rslora=bool(config.get("use_rslora")),
        **_targets_of(config, checkpoint.args()),
    )


def _targets_of(config: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    names = config.get("target_modules") or ()
    spelled = args.get("target_modules") or names
    return {
        "target_regex": names if isinstance(names, str) and names != "all-linear" else None,
        "target_modules": (spelled,) if isinstance(spelled, str) else tuple(spelled),
        "freeze_layers_ratio": args.get("freeze_layers_ratio", 0.0),
        "modules_to_save": tuple(
            args.get("modules_to_save") or config.get("modules_to_save") or ()
        ),
    }
