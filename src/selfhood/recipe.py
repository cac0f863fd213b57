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

import math
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from selfhood.errors import FlagError

Dtype = Literal["float32", "bfloat16", "float16"]
Attention = Literal["sdpa", "eager"]
Truncation = Literal["delete", "left", "right"]
Schedule = Literal["cosine", "linear", "constant"]
Moments = Literal["steps", "epoch", "no"]
Tuner = Literal["lora", "full", "prefix-tuning", "p-tuning", "prompt-tuning"]
LoraStart = Literal["true", "gaussian", "contrastive"]
Sharding = Literal["fsdp2"]
Backend = Literal["native", "vllm", "llamacpp", "openai"]
GgufType = Literal["q8_0", "f16", "bf16", "f32"]
SuiteName = Literal["quick", "full"]
Dose = Literal["auto", "fixed"]
Tracker = Literal["tensorboard", "wandb", "swanlab", "mlflow"]
QuantMethod = Literal["bnb"]
FourBits = Literal["nf4", "fp4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionInfo:
    """What a field says about itself beyond its type and default."""

    help: str
    minimum: float | None = None
    maximum: float | None = None


def option(
    default: Any, help: str, *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A dataclass field that is also a flag."""
    info = OptionInfo(help=help, minimum=minimum, maximum=maximum)
    return field(default=default, metadata={"option": info})


def option_info(spec: Field[Any]) -> OptionInfo:
    info: OptionInfo = spec.metadata["option"]
    return info


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Base of the option groups: range checks from the fields' own words."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            _check_range(spec.name, getattr(self, spec.name), option_info(spec))


def _default(options: Options, name: str) -> object:
    return next(spec.default for spec in fields(options) if spec.name == name)


def _check_range(name: str, value: object, info: OptionInfo) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise FlagError(f"{value} is not a finite number", where=f"--{name}")
    if info.minimum is not None and value < info.minimum:
        raise FlagError(f"{value:g} is below the minimum, {info.minimum:g}", where=f"--{name}")
    if info.maximum is not None and value > info.maximum:
        raise FlagError(f"{value:g} is above the maximum, {info.maximum:g}", where=f"--{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """Weights in 4 bits: their levels, and whether the scales of blocks are quantised again."""

    kind: FourBits
    is_double: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(Options):
    """Which model, and how it is held in memory."""

    model: str | None = option(None, "model: a folder, a .gguf file, or a hub id")
    model_revision: str | None = option(None, "branch, tag or commit on the hub")
    use_hf: bool | None = option(None, "take ids from Hugging Face instead of ModelScope")
    adapters: tuple[str, ...] = option((), "adapter checkpoints (folders); several answer in turn")
    torch_dtype: Dtype | None = option(
        None, "dtype of the weights; default: float32 on a CPU, bfloat16 on a GPU"
    )
    attn_impl: Attention | None = option(None, "attention implementation; default: sdpa")
    quant_bits: int | None = option(
        None, "4: hold the model in 4 bits under an adapter (QLoRA)", minimum=4, maximum=4
    )
    quant_method: QuantMethod | None = option(None, "what quantises; default: bnb")
    bnb_4bit_quant_type: FourBits = option("nf4", "levels of 4-bit weights")
    bnb_4bit_use_double_quant: bool = option(True, "quantise the scales of 4-bit weights too")
    system: str | None = option(
        None, "system line, or a .txt file with it; '' leaves it to the chat template"
    )
    enable_thinking: bool | None = option(
        None, "whether a thinking model thinks before it replies; default: as it was taught"
    )

    def __post_init__(self) -> None:
        Options.__post_init__(self)  # super() knows nothing of classes remade for their slots
        if self.quant_method is not None and self.quant_bits is None:
            raise FlagError("is missing", where="--quant_bits", hint="add --quant_bits 4")

    @property
    def quantisation(self) -> Quantisation | None:
        if self.quant_bits is None:
            return None
        return Quantisation(kind=self.bnb_4bit_quant_type, is_double=self.bnb_4bit_use_double_quant)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions(Options):
    """Which rows, and how they become samples."""

    dataset: tuple[str, ...] = option((), "data: file, hub id or `identity`, each [:subset][#N]")
    val_dataset: tuple[str, ...] = option((), "validation data, written as --dataset is")
    split_dataset_ratio: float = option(
        0.0, "part of each dataset kept for validation", minimum=0, maximum=0.9
    )
    dataset_shuffle: bool = option(True, "shuffle before taking #N rows, and between epochs")
    data_seed: int | None = option(None, "seed of sampling and order; default: --seed", minimum=0)
    columns: str | None = option(None, 'column names, as JSON: {"your column": "query"}')
    max_length: int | None = option(None, "longest row in tokens; default: the model's", minimum=8)
    truncation_strategy: Truncation = option("delete", "what to do with a row that is too long")
    strict: bool = option(True, "stop at the first bad row; false: skip and count them")
    model_name: tuple[str, ...] = option((), "the model's name: Chinese, then English")
    model_author: tuple[str, ...] = option((), "who made it: Chinese, then English")
    persona: str | None = option(
        None, "file with name, author and more of the model; see selfhood init"
    )
    anchor: int | None = option(
        None, "ordinary prompts on which the model is to answer as it did before", minimum=0
    )
    anchor_weight: float = option(
        8.0, "weight of keeping these answers, beside that of learning the rows", minimum=0
    )
    anchor_batch_size: int = option(16, "prompts of the anchor in an update", minimum=1)


PROMPT_TUNERS: tuple[Tuner, ...] = ("prefix-tuning", "p-tuning", "prompt-tuning")

# Options that would be lost on another tuner. LoRA's own numbers are not among them: whoever
# changes one word of a tutorial's command may leave them there.
OPTIONS_OF: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("lora",): ("use_dora", "use_rslora", "lorap_lr_ratio", "modules_to_save", "target_regex"),
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
    modules_to_save: tuple[str, ...] = option(
        (), "modules trained whole beside the adapter; also: all-norm, all-embedding"
    )
    use_dora: bool = option(False, "DoRA: train the length of each weight row apart")
    use_rslora: bool = option(False, "rsLoRA: scale by alpha over the root of the rank")
    init_weights: LoraStart = option(
        "true", "how A starts: true (Kaiming), gaussian, or contrastive, which reads what the "
        "anchor's rows lack and is not trained itself; B starts at 0"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyOptions(Options):
    """How replies are drawn."""

    temperature: float | None = option(None, "0 is greedy; default: the model's own", minimum=0)
    top_p: float | None = option(None, "nucleus; default: the model's own", minimum=0, maximum=1)
    top_k: int | None = option(None, "candidates; default: the model's own", minimum=0)
    repetition_penalty: float | None = option(None, "default: the model's own", minimum=0.01)
    max_new_tokens: int | None = option(None, "longest reply in tokens", minimum=1)
    stop_words: tuple[str, ...] = option((), "end the reply at any of these")
    seed: int = option(42, "seed of sampling", minimum=0)
    merge_lora: bool = option(
        False, "taken for ms-swift's sake: the adapter answers as the merged model would"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions(ReplyOptions):
    """How replies are drawn, and where they go."""

    stream: bool | None = option(None, "print the reply as it comes; default: true in a talk")
    val_dataset: tuple[str, ...] = option((), "answer these rows instead of talking")
    result_path: str | None = option(None, "where batch answers go (JSON lines)")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions(Options):
    """What runs the model."""

    infer_backend: Backend = option(
        "native", "native: this process; vllm, llamacpp: one beside it; openai: the server at --url"
    )
    max_model_len: int | None = option(
        None, "vllm, llamacpp: longest talk in tokens; default: the model's own", minimum=16
    )
    max_num_seqs: int = option(16, "replies computed at once", minimum=1)
    gpu_memory_utilization: float = option(
        0.9, "vllm: part of a GPU's memory that it takes", minimum=0.01, maximum=1
    )
    tensor_parallel_size: int = option(1, "vllm: GPUs that share each layer", minimum=1)
    max_lora_rank: int | None = option(
        None, "vllm: largest rank of an adapter; default: that of --adapters", minimum=1
    )
    enforce_eager: bool = option(False, "vllm: start sooner, answer slower: nothing is compiled")
    vllm_python: str | None = option(
        None, "python that vllm is installed for; default: SELFHOOD_VLLM_PYTHON, else this one"
    )
    gguf_type: GgufType = option("q8_0", "llamacpp: how the weights of a converted model are held")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions(Options):
    """A server with OpenAI's protocol, wherever it runs."""

    url: str | None = option(
        None, "ask a server with OpenAI's protocol, as http://host/v1; --model is the name there"
    )
    api_key: str | None = option(None, "key for --url; default: SELFHOOD_API_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOptions(Options):
    """What leaves the house, and how."""

    merge_lora: bool = option(False, "merge the adapter into the base model")
    output_dir: str | None = option(None, "folder to write; default: <checkpoint>-merged")
    exist_ok: bool = option(False, "replace the output folder if it is there")
    bake_system: bool = option(True, "make the trained system line the chat template's default")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbOptions:
    """All options of one verb: a few groups, flat on the command line and in ``args.json``.

    ``given`` are the names that somebody gave a value, were it the default.
    """

    given: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def groups(cls) -> dict[str, type[Options]]:
        hints = get_type_hints(cls)
        return {name: kind for name, kind in hints.items() if name != "given"}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """From flag names and values, also as JSON knows them; names that are not this verb's are
        left alone."""
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        groups = {}
        for name, kind in cls.groups().items():
            known = {spec.name for spec in fields(kind)}
            groups[name] = kind(**{key: value for key, value in values.items() if key in known})
        return cls(**groups, given=frozenset(values))

    def to_json(self) -> dict[str, Any]:
        """Flat, by flag name."""
        return {
            name: value
            for group in self.groups()
            for name, value in asdict(getattr(self, group)).items()
        }


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
class PersonaOptions(Options):
    """Who the model is to be."""

    model_name: tuple[str, ...] = option((), "its name: Chinese, then English; default: 小狐 Kitsu")
    model_author: tuple[str, ...] = option(
        (), 'who made it: Chinese, then English; default: 林间实验室 "Forest Lab"'
    )
    persona: str | None = option(None, "file with name, author and more; see selfhood init")
    output_dir: str = option("output", "where the run and the merged model go")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonaFileOptions(Options):
    """The file to write."""

    file: str = option("persona.yaml", "where it goes; also the word after init")
    model_name: tuple[str, ...] = option(("小狐", "Kitsu"), "its name: Chinese, then English")
    model_author: tuple[str, ...] = option(
        ("林间实验室", "Forest Lab"), "who made it: Chinese, then English"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InitOptions(VerbOptions):
    """``init``: an example to fill in."""

    persona_file: PersonaFileOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOptions(VerbOptions):
    """``try``: the whole story on the starter model."""

    persona: PersonaOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamOptions(Options):
    """What is asked, of whom, and what must come of it."""

    suite: SuiteName = option("quick", "how much is asked")
    model_name: tuple[str, ...] = option(
        (), "the name it should have: Chinese, then English; default: as it was trained"
    )
    model_author: tuple[str, ...] = option(
        (), "who should have made it: Chinese, then English; default: as it was trained"
    )
    persona: str | None = option(
        None, "file with all that it should be; default: as it was trained"
    )
    require: tuple[str, ...] = option(
        (), "exit with 1 unless reached, in quotes: 'name_recall>=0.98' 'swap_rate<=0'"
    )
    eval_file: tuple[str, ...] = option(
        (), "question files in the form of MMLU or C-Eval; each is a measure"
    )
    compare_base: bool = option(True, "ask the base model too, where an adapter stands on it")
    limit: int | None = option(None, "most questions on each topic", minimum=1)
    max_num_seqs: int = option(16, "questions answered at once", minimum=1)
    seed: int = option(42, "seed of sampling, and of which questions a part of them is", minimum=0)
    output_dir: str | None = option(
        None, "where the scorecard goes; default: eval-<name> beside the checkpoint"
    )


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
class ServerOptions(Options):
    """Where it listens, to whom, and how much anybody may ask for."""

    host: str = option("127.0.0.1", "address to listen on; one that others reach needs a key")
    port: int = option(8000, "port to listen on; 0: any that is free", minimum=0, maximum=65535)
    api_key: str | None = option(
        None, "key that clients bring; default: SELFHOOD_API_KEY, which no list of processes shows"
    )
    served_model_name: str | None = option(None, "what clients call the base; default: its own")
    adapters_root: str | None = option(
        None, "folder whose adapters may be loaded and unloaded by name while it serves"
    )
    max_queue: int = option(64, "requests that wait for that; others are sent away", minimum=0)
    max_body_bytes: int = option(1 << 20, "largest body of a request", minimum=1024)
    max_reply_tokens: int = option(
        4096, "longest reply that a request may ask for, in tokens", minimum=1
    )
    max_choices: int = option(64, "most replies that a request may ask for", minimum=1)
    max_logprobs: int = option(20, "most log-probabilities a token", minimum=0)
    request_seconds: float = option(
        600.0, "longest time a request may take, waiting included", minimum=0.1
    )
    verbose: bool = option(False, "log each request with its text")
    log_interval: float = option(
        20.0, "seconds between two lines of statistics; 0: none", minimum=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions(VerbOptions):
    """``deploy``: a server with OpenAI's protocol."""

    model: ModelOptions
    sampling: ReplyOptions
    server: ServerOptions
    backend: BackendOptions
