"""All options of each verb."""

from __future__ import annotations

from dataclasses import dataclass

from selfhood.errors import FlagError
from selfhood.recipe.answers import (
    BackendOptions,
    RemoteOptions,
    ReplyOptions,
    SamplingOptions,
    ServerOptions,
)
from selfhood.recipe.data import DataOptions
from selfhood.recipe.exam import ExamOptions, PersonaFileOptions, PersonaOptions
from selfhood.recipe.export import MergeOptions
from selfhood.recipe.model import ModelOptions
from selfhood.recipe.option import VerbOptions
from selfhood.recipe.train import TrainOptions
from selfhood.recipe.tuner import TunerOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(VerbOptions):
    """A training run, completely: ``sft`` and ``plan``."""

    model: ModelOptions
    data: DataOptions
    tuner: TunerOptions
    train: TrainOptions

    def __post_init__(self) -> None:
        if self.model.quant_bits is not None and self.tuner.tuner_type == "full":
            raise FlagError(
                "weights of 4 bits cannot move; only an adapter on them can be trained",
                where="--quant_bits",
                hint="drop it, or use --tuner_type lora",
            )
        if self.train.has_parts and (
            self.tuner.tuner_type != "lora"
            or self.model.quant_bits is not None
            or self.train.neftune_noise_alpha
            or self.train.average_from
        ):
            raise FlagError(
                "spreads a model under LoRA, without noise or averages, in whole weights; "
                "nothing else yet",
                where="--fsdp" if self.train.fsdp else "--deepspeed",
                hint="leave it out: each process then holds the whole model",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class InferOptions(VerbOptions):
    """``infer``: a talk, or a file of questions."""

    model: ModelOptions
    sampling: SamplingOptions
    backend: BackendOptions
    remote: RemoteOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(VerbOptions):
    """``export`` and ``merge_lora``."""

    model: ModelOptions
    merge: MergeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class InitOptions(VerbOptions):
    """``init``: an example to fill in."""

    persona_file: PersonaFileOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOptions(VerbOptions):
    """``try``: the whole story on the starter model."""

    persona: PersonaOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions(VerbOptions):
    """``eval``: who answers, and what else has changed."""

    model: ModelOptions
    exam: ExamOptions
    remote: RemoteOptions

    def __post_init__(self) -> None:
        if self.model.system:
            raise FlagError(
                "says nothing to eval",
                where="--system",
                hint="it asks under four system lines of its own",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions(VerbOptions):
    """``deploy``: a server with OpenAI's protocol."""

    model: ModelOptions
    sampling: ReplyOptions
    server: ServerOptions
    backend: BackendOptions
