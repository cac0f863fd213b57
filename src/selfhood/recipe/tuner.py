"""What is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from selfhood.errors import FlagError
from selfhood.recipe.option import Options, option

Tuner = Literal["lora", "full", "prefix-tuning", "p-tuning", "prompt-tuning"]
LoraStart = Literal["true", "gaussian", "contrastive"]

PROMPT_TUNERS: tuple[Tuner, ...] = ("prefix-tuning", "p-tuning", "prompt-tuning")

# Options that would be lost on another tuner. LoRA's own numbers are not among them: whoever
# changes one word of a tutorial's command may leave them there.
OPTIONS_OF: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("lora",): (
        "use_dora", "use_rslora", "lorap_lr_ratio", "modules_to_save", "target_regex",
        "freeze_layers_ratio",
    ),
    ("full",): (
        "freeze_parameters", "freeze_parameters_regex", "freeze_parameters_ratio",
        "trainable_parameters", "trainable_parameters_regex",
    ),
    PROMPT_TUNERS: ("num_virtual_tokens",),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TunerOptions(Options):
    """What is trained."""

    tuner_type: Tuner = option("lora", "what is trained")
    lora_rank: int = option(8, "rank of the update", minimum=1)
    lora_alpha: int = option(32, "scale of the update, over the rank", minimum=1)
    lora_dropout: float = option(0.0, "dropout on the adapter's input", minimum=0, maximum=0.99)
    target_modules: tuple[str, ...] = option(("all-linear",), "layers that get an adapter")
    target_regex: str | None = option(
        None, "layers that get an adapter, as a pattern of whole names; overrides the list"
    )
    freeze_layers_ratio: float = option(
        0.0, "lora: leave this part of the layers, from the first on", minimum=0, maximum=0.99
    )
    modules_to_save: tuple[str, ...] = option(
        (), "modules trained whole beside the adapter; also: all-norm, all-embedding"
    )
    use_dora: bool = option(False, "DoRA: train the length of each weight row apart")
    use_rslora: bool = option(False, "rsLoRA: scale by alpha over the root of the rank")
    init_weights: LoraStart = option(
        "true", "how A starts: true (Kaiming), gaussian, or contrastive, which reads what the "
        "anchor's rows lack; B starts at 0"
    )  # fmt: skip
    lorap_lr_ratio: float | None = option(
        None, "LoRA+: B learns this many times as fast as A; 16 is usual", minimum=1
    )
    num_virtual_tokens: int = option(
        20, "tokens that prefix-tuning, p-tuning and prompt-tuning put before a row", minimum=1
    )
    freeze_parameters: tuple[str, ...] = option((), "full: leave weights whose names begin so")
    freeze_parameters_regex: str | None = option(
        None, "full: leave weights in whose names this pattern is found"
    )
    freeze_parameters_ratio: float = option(
        0.0, "full: leave this part of the weights, from the first layer on", minimum=0, maximum=1
    )
    trainable_parameters: tuple[str, ...] = option(
        (), "full: train weights whose names begin so, frozen or not"
    )
    trainable_parameters_regex: str | None = option(
        None, "full: train weights in whose names this pattern is found, frozen or not"
    )

    def __post_init__(self) -> None:
        Options.__post_init__(self)  # super() knows nothing of classes remade for their slots
        for tuners, names in OPTIONS_OF.items():
            for name in names:
                if self.tuner_type not in tuners and getattr(self, name) != _default(self, name):
                    raise FlagError(
                        f"says nothing to --tuner_type {self.tuner_type}",
                        where=f"--{name}",
                        hint=f"it belongs to {', '.join(tuners)}",
                    )

    @property
    def is_aimed(self) -> bool:
        """Whether the adapter starts on what sets the learnt rows apart from the anchor's."""
        return self.init_weights == "contrastive"


def _default(options: Options, name: str) -> object:
    return next(spec.default for spec in fields(options) if spec.name == name)
