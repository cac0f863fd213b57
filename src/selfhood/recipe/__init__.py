"""Every option of every verb: its default, its help line, its checks. Flags are derived from here.

    Recipe       sft, plan      Model + Data + Tuner + Train
    InferOptions infer          Model + Sampling + Backend + Remote
    ExportOptions export        Model + Export
    EvalOptions  eval           Model + Exam + Remote
    DeployOptions deploy        Model + Reply + Server + Backend

Nothing else in the house knows a default. ``cli.flags`` turns fields into flags; ``cli.compat``
maps the names that other tools and older tutorials use onto these.
"""

from __future__ import annotations

from selfhood.recipe.answers import (
    Backend,
    BackendOptions,
    GgufType,
    RemoteOptions,
    ReplyOptions,
    SamplingOptions,
    ServerOptions,
)
from selfhood.recipe.data import DataOptions, Truncation
from selfhood.recipe.exam import ExamOptions, PersonaFileOptions, PersonaOptions, SuiteName
from selfhood.recipe.export import MergeOptions
from selfhood.recipe.model import (
    Attention,
    Dtype,
    FourBits,
    ModelOptions,
    Quantisation,
    QuantMethod,
)
from selfhood.recipe.option import OptionInfo, Options, VerbOptions, option, option_info
from selfhood.recipe.train import Dose, Moments, Schedule, Sharding, Tracker, TrainOptions
from selfhood.recipe.tuner import PROMPT_TUNERS, LoraStart, Tuner, TunerOptions
from selfhood.recipe.verbs import (
    DeployOptions,
    EvalOptions,
    ExportOptions,
    InferOptions,
    InitOptions,
    Recipe,
    TryOptions,
)

__all__ = [
    "PROMPT_TUNERS",
    "Attention",
    "Backend",
    "BackendOptions",
    "DataOptions",
    "DeployOptions",
    "Dose",
    "Dtype",
    "EvalOptions",
    "ExamOptions",
    "ExportOptions",
    "FourBits",
    "GgufType",
    "InferOptions",
    "InitOptions",
    "LoraStart",
    "MergeOptions",
    "ModelOptions",
    "Moments",
    "OptionInfo",
    "Options",
    "PersonaFileOptions",
    "PersonaOptions",
    "QuantMethod",
    "Quantisation",
    "Recipe",
    "RemoteOptions",
    "ReplyOptions",
    "SamplingOptions",
    "Schedule",
    "ServerOptions",
    "Sharding",
    "SuiteName",
    "Tracker",
    "TrainOptions",
    "Truncation",
    "TryOptions",
    "Tuner",
    "TunerOptions",
    "VerbOptions",
    "option",
    "option_info",
]
