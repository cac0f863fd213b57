"""How it is trained, and how long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selfhood.recipe.option import Options, option

Schedule = Literal["cosine", "linear", "constant"]
Moments = Literal["steps", "epoch", "no"]
Sharding = Literal["fsdp2"]
Dose = Literal["auto", "fixed"]
Tracker = Literal["tensorboard", "wandb", "swanlab", "mlflow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions(Options):
    """How it is trained, and what is written on the way."""

    num_train_epochs: float = option(3.0, "passes over the data", minimum=0.001)
    max_steps: int = option(-1, "updates in all; above 0 it overrides the epochs", minimum=-1)
    dose: Dose | None = option(
        None, "auto: train until the identity passes; default: auto for nothing but `identity`"
    )
    per_device_train_batch_size: int = option(1, "samples per micro-batch", minimum=1)
    gradient_accumulation_steps: int | None = option(
        None, "micro-batches per update; default: 16 rows, over batch size and processes", minimum=1
    )
    learning_rate: float | None = option(None, "peak learning rate; default: 1e-4", minimum=0)
    lr_scheduler_type: Schedule = option("cosine", "shape of the learning rate after warm-up")
    warmup_ratio: float = option(0.0, "part of the updates that warm up", minimum=0, maximum=1)
    warmup_steps: int = option(0, "updates that warm up; overrides --warmup_ratio", minimum=0)
    weight_decay: float = option(0.1, "AdamW weight decay", minimum=0)
    adam_beta1: float = option(0.9, "AdamW beta 1", minimum=0, maximum=0.99999)
    adam_beta2: float = option(0.95, "AdamW beta 2", minimum=0, maximum=0.99999)
    adam_epsilon: float = option(1e-8, "AdamW epsilon", minimum=0)
    neftune_noise_alpha: float | None = option(
        None, "NEFTune: noise on embeddings while training; 5 is usual", minimum=0
    )
    average_from: int | None = option(
        None, "end with the mean of the weights since this update", minimum=1
    )
    max_grad_norm: float = option(1.0, "clip the gradient's norm to this; 0: never", minimum=0)
    seed: int = option(42, "seed of the adapter's start and of the data order", minimum=0)
    logging_steps: int = option(5, "log every N updates (and the first)", minimum=1)
    eval_strategy: Moments | None = option(None, "when to validate; default: when saving")
    eval_steps: int | None = option(
        None, "validate every N updates; default: --save_steps", minimum=1
    )
    save_strategy: Moments = option("steps", "when to save; the last update always is")
    save_steps: int = option(500, "save every N updates", minimum=1)
    save_total_limit: int | None = option(None, "keep only the newest N checkpoints", minimum=1)
    save_only_model: bool = option(False, "leave out what only --resume_from_checkpoint needs")
    load_best_model_at_end: bool = option(
        False, "use the run as its checkpoint of lowest validation loss, not as its last"
    )
    early_stop_interval: int | None = option(
        None, "stop after N validations without a lower loss", minimum=1
    )
    resume_from_checkpoint: str | None = option(
        None, "go on with a run: its checkpoint, or true for the newest below --output_dir"
    )
    stage: int | None = option(None, "which stage of a config file this is", minimum=1)
    report_to: tuple[Tracker, ...] = option(
        ("tensorboard",), "trackers of metrics; TensorBoard files are always written"
    )
    output_dir: str | None = option(None, "where runs go; default: output")
    add_version: bool = option(True, "put each run in its own vN-<date>-<time> folder")
    fsdp: Sharding | None = option(
        None, "spread the weights over the processes; default: each holds all of them"
    )
    deepspeed: str = option(
        "zero0",
        "the same by DeepSpeed: zero1, zero2, zero3, zero2_offload, zero3_offload, or a file",
    )
    token_budget: int | None = option(
        None, "most tokens in one forward pass; default: what is fast and fits", minimum=64
    )
    gradient_checkpointing: bool | None = option(
        None, "save memory by computing activations twice; default: only where rows need it"
    )

    @property
    def has_parts(self) -> bool:
        """Whether each of several processes holds only a part of the model or its moments."""
        return self.fsdp is not None or self.deepspeed != "zero0"

    def samples_per_update(self, num_processes: int = 1) -> int:
        at_once = self.per_device_train_batch_size * num_processes
        return at_once * (self.gradient_accumulation_steps or math.ceil(16 / at_once))

    @property
    def runs_folder(self) -> Path:
        return Path(self.output_dir or "output").expanduser()

    @property
    def peak_learning_rate(self) -> float:
        return 1e-4 if self.learning_rate is None else self.learning_rate
