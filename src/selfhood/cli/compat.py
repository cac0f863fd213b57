"""The one place that knows the names which other tools and older tutorials use.

Spellings of ms-swift 2.x, 3.x and 4.x, and those that tutorials made up:

    ALIASES       what people type -> the option here
    VALUES        the same for values
    NO_EFFECT     taken, and the user is told why it changes nothing
    UNSUPPORTED   would change the result, which is not possible yet: an error, not a notice

Names that are not in these tables and not in ``recipe`` are mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIASES: Mapping[str, str] = {
    # model
    "model_id_or_path": "model",
    "model_name_or_path": "model",
    "model_dir": "model",
    "model_cache_dir": "model",  # 2.x
    "revision": "model_revision",
    "dtype": "torch_dtype",
    "adapter": "adapters",
    "adapter_path": "adapters",  # tutorials: merge_lora --adapter_path, never in any release
    "adapter_name_or_path": "adapters",
    "ckpt_dir": "adapters",  # 2.x, 3.x
    "lora_modules": "adapters",
    "system_prompt": "system",
    "quantization_bit": "quant_bits",  # 2.x
    "load_in_4bit": "quant_bits",
    "quantization_method": "quant_method",
    # data
    "train_dataset": "dataset",
    "custom_train_dataset_path": "dataset",  # 2.x
    "custom_val_dataset_path": "val_dataset",  # 2.x
    "dataset_test_ratio": "split_dataset_ratio",
    "shuffle": "dataset_shuffle",
    "train_dataloader_shuffle": "dataset_shuffle",
    "dataset_seed": "data_seed",
    "max_seq_length": "max_length",
    "cutoff_len": "max_length",
    "name": "model_name",
    "author": "model_author",
    # tuner
    "train_type": "tuner_type",  # 3.x
    "sft_type": "tuner_type",  # 2.x
    "finetuning_type": "tuner_type",
    "lora_r": "lora_rank",
    "lora_target_modules": "target_modules",
    "lora_target": "target_modules",
    "lora_dropout_p": "lora_dropout",
    "lora_lr_ratio": "lorap_lr_ratio",  # 2.x
    "loraplus_lr_ratio": "lorap_lr_ratio",
    "init_lora_weights": "init_weights",  # 2.x
    # training
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",  # which has no effect
    "epochs": "num_train_epochs",
    "lr": "learning_rate",
    "lr_scheduler": "lr_scheduler_type",
    "adam_eps": "adam_epsilon",
    "neftune_alpha": "neftune_noise_alpha",  # 2.x
    "evaluation_strategy": "eval_strategy",
    "add_output_dir_suffix": "add_version",  # 2.x
    "only_save_model": "save_only_model",  # 2.x
    # backends: as ms-swift 3.x and 4.x call vLLM's own
    "vllm_max_model_len": "max_model_len",
    "vllm_max_num_seqs": "max_num_seqs",
    "max_batch_size": "max_num_seqs",
    "vllm_gpu_memory_utilization": "gpu_memory_utilization",
    "vllm_tensor_parallel_size": "tensor_parallel_size",
    "vllm_max_lora_rank": "max_lora_rank",
    "vllm_enforce_eager": "enforce_eager",
    "tp": "tensor_parallel_size",
    # infer, eval, export
    "eval_limit": "limit",
    "eval_output_dir": "output_dir",
    "eval_url": "url",
    "stop": "stop_words",
    "eval_dataset": "val_dataset",
    "result_dir": "result_path",
    "merge_path": "output_dir",  # tutorials: merge_lora --merge_path, never in any release
    "merged_lora_path": "output_dir",
}

VALUES: Mapping[str, Mapping[str, str]] = {
    "tuner_type": {
        "prefix_tuning": "prefix-tuning",
        "prefix": "prefix-tuning",
        "prefixtuning": "prefix-tuning",
        "p_tuning": "p-tuning",
        "ptuning": "p-tuning",
        "p-tuning-v2": "prefix-tuning",  # P-Tuning v2 trains a prefix in every layer
        "p_tuning_v2": "prefix-tuning",
        "ptuning_v2": "prefix-tuning",
        "prompt_tuning": "prompt-tuning",
        "prompt": "prompt-tuning",
    },
    "torch_dtype": {
        "fp32": "float32",
        "float": "float32",
        "bf16": "bfloat16",
        "fp16": "float16",
        "half": "float16",
        "auto": "None",
        "AUTO": "None",
    },
    "quant_bits": {
        **dict.fromkeys(("true", "True"), "4"),
        **dict.fromkeys(("false", "False", "0", "-1", "none"), "None"),
    },
    "quant_method": {"none": "None", "bitsandbytes": "bnb"},
    "target_modules": {"ALL": "all-linear", "all": "all-linear", "DEFAULT": "all-linear"},
    "init_weights": {"True": "true", "default": "true", "1": "true"},
    "infer_backend": {
        "pt": "native",
        "transformers": "native",
        "llama.cpp": "llamacpp",
        "llama_cpp": "llamacpp",
        "llama-cpp": "llamacpp",
    },
    "gguf_type": {"fp16": "f16", "fp32": "f32", "Q8_0": "q8_0"},
    "attn_impl": {
        "auto": "None",
        "flash_attn": "sdpa",
        "flash_attention_2": "sdpa",
        "flash_attention_3": "sdpa",
    },
    "deepspeed": {
        "default-zero2": "zero2",  # 2.x
        "default-zero3": "zero3",
        **dict.fromkeys(("", "none", "false"), "zero0"),
    },
    "fsdp": {
        "full_shard": "fsdp2",
        "full_shard auto_wrap": "fsdp2",
        **dict.fromkeys(("", "none", "false"), "None"),
    },
    # YAML reads an unquoted `no` as false.
    "save_strategy": {"false": "no"},
    "eval_strategy": {"false": "no"},
    "lr_scheduler_type": {"constant_with_warmup": "constant"},
    "report_to": {"none": "tensorboard", "all": "tensorboard"},
}

# Values that are taken, but not as they are meant elsewhere: the user is told.
STAND_INS: Mapping[str, Mapping[str, str]] = {
    "attn_impl": dict.fromkeys(
        ("flash_attn", "flash_attention_2", "flash_attention_3"), "PyTorch's own attention is used"
    ),
}

PREPARED = "rows are prepared before training starts"
OWN_TEMPLATE = "the model's own chat template is used"
PACKED = "every update is packed here, with the gradient of the plain loop"
LOWEST_LOSS = "the lowest validation loss is the best"
TEXT_ONLY = "only text models are trained here"
NOT_QUANTISED = "the weights are not quantised"
NOT_PUSHED = "nothing is sent to a hub"

NO_EFFECT: Mapping[str, str] = {
    # model
    "model_type": "the architecture is read from the model itself",
    "use_flash_attn": "PyTorch's own attention is used",
    "device_map": "the model goes to the GPU if there is one",
    "max_memory": "the model goes to the GPU if there is one",
    "bf16": "see --torch_dtype",
    "fp16": "see --torch_dtype",
    "check_model": "nothing is sent to a hub unless a model or dataset comes from there",
    "check_model_is_latest": "nothing is sent to a hub unless a model or dataset comes from there",
    "local_repo_path": "no model code is fetched",
    "load_args": "what a checkpoint remembers is always used where the command is silent",
    "ignore_args_error": "unknown flags are mistakes",
    "freeze_vit": TEXT_ONLY,
    "freeze_aligner": TEXT_ONLY,
    "max_pixels": TEXT_ONLY,
    "norm_bbox": TEXT_ONLY,
    # template
    "template": OWN_TEMPLATE,
    "template_type": OWN_TEMPLATE,
    "template_backend": OWN_TEMPLATE,
    "add_non_thinking_prefix": "the template's empty thoughts come before a reply that has none",
    "preserve_thinking": OWN_TEMPLATE,
    "padding_side": "the model sees no padding",
    # data
    "dataloader_num_workers": PREPARED,
    "dataset_num_proc": PREPARED,
    "preprocess_num_proc": PREPARED,
    "packing_num_proc": PREPARED,
    "dataloader_pin_memory": PREPARED,
    "dataloader_prefetch_factor": PREPARED,
    "dataloader_persistent_workers": PREPARED,
    "lazy_tokenize": PREPARED,
    "load_from_cache_file": "what is cached never goes stale: a file that changed is read again",
    "dataset_enable_cache": "what is cached never goes stale: a file that changed is read again",
    "download_mode": "the hub client's cache decides",
    "shuffle_buffer_size": "a dataset is shuffled whole",
    "stopping_strategy": "datasets are mixed whole",
    "val_dataset_shuffle": "the order of validation rows changes nothing",
    "remove_unused_columns": "columns that are not used are never read",
    "check_dataset_strategy": "--strict decides what happens to bad rows",
    # compute
    "gradient_checkpointing_kwargs": "the result is the same",
    "packing": PACKED,
    "padding_free": PACKED,
    "group_by_length": PACKED,
    "packing_length": "see --token_budget",
    "packing_strategy": "see --token_budget",
    "per_device_eval_batch_size": "validation rows are packed too; the loss is the same",
    "eval_accumulation_steps": "validation rows are packed too; the loss is the same",
    "use_logits_to_keep": "logits are always computed at trained tokens only",
    "use_liger_kernel": "not needed: logits are computed at trained tokens only",
    "torch_compile": "nothing is compiled; the result is the same",
    "lora_dtype": "adapter weights are float32 while they are trained",
    "tuner_backend": "peft is used; the result is the same",
    "average_tokens_across_devices": "the tokens of an update are always counted together",
    "acc_strategy": "accuracy is counted by token",
    "full_determinism": "all randomness is seeded; nothing more is done",
    "ddp_find_unused_parameters": "every trained weight's gradient is summed, used or not",
    "ddp_timeout": "torch's own limits hold",
    "ddp_backend": "nccl between GPUs, gloo between CPUs",
    "local_rank": "the launcher's variables say it",
    # quantisation
    "bnb_4bit_comp_dtype": "4-bit weights are multiplied in --torch_dtype",  # 2.x
    "bnb_4bit_compute_dtype": "4-bit weights are multiplied in --torch_dtype",
    "bnb_4bit_quant_storage": "4-bit weights are kept as bytes",
    "hqq_axis": NOT_QUANTISED,
    "quant_n_samples": NOT_QUANTISED,
    "quant_batch_size": NOT_QUANTISED,
    "group_size": NOT_QUANTISED,
    # saving, reporting
    "save_safetensors": "nothing else is written",
    "safe_serialization": "nothing else is written",
    "save_on_each_node": "the first process saves",
    "create_checkpoint_symlink": "no links are made; the end of a run prints both paths",
    "overwrite_output_dir": "each run gets a folder of its own; see --add_version",
    "metric_for_best_model": LOWEST_LOSS,
    "greater_is_better": LOWEST_LOSS,
    "logging_strategy": "see --logging_steps",
    "logging_first_step": "the first update is always logged",
    "logging_dir": "TensorBoard files are in <run>/runs",
    "run_name": "the run is called as its folder",
    "disable_tqdm": "off a terminal, progress is a line now and then",
    "max_shard_size": "files are split as transformers does",
    "hub_model_id": NOT_PUSHED,
    "hub_private_repo": NOT_PUSHED,
    "hub_strategy": NOT_PUSHED,
    "commit_message": NOT_PUSHED,
    # infer
    "limit_mm_per_prompt": TEXT_ONLY,
    "enable_prefix_caching": "common prefixes are always computed once",
    "use_async_engine": "every backend answers many at a time",
    "top_logprobs": "no log-probabilities are written",
    "write_batch_size": "answers are written as they come",
    "eval_human": "a talk starts whenever no --val_dataset is given",
    "save_result": "see --result_path",
    "use_cache": "generation always caches",
    # deploy
    "owned_by": "models are listed as selfhood's",
    "log_level": "see --verbose and --log_interval",
}

# Flags of backends that are not connected, and those of vLLM that no option stands for.
BACKEND_PREFIXES = ("vllm_", "sglang_", "lmdeploy_")

# ms-swift takes these with every verb; where they are of no use they do no harm.
HARMLESS_ELSEWHERE = (
    "max_length", "truncation_strategy", "data_seed", "dataset_shuffle", "strict", "tuner_type",
    "model_name", "model_author", "seed", "temperature", "top_p", "top_k", "repetition_penalty",
    "max_new_tokens", "stream", "stop_words", "infer_backend", "max_model_len",
    "gpu_memory_utilization", "tensor_parallel_size", "max_num_seqs", "max_lora_rank",
    "enforce_eager",
)  # fmt: skip

# Values that other tools take, and what to do instead.
ELSEWHERE = "start its server yourself and ask it: --infer_backend openai --url http://HOST:PORT/v1"
NOT_CONNECTED: Mapping[str, Mapping[str, str]] = {
    "infer_backend": {
        "sglang": f"use vllm, llamacpp or native; or {ELSEWHERE}",
        "lmdeploy": f"use vllm, llamacpp or native; or {ELSEWHERE}",
    },
}

# What somebody who gives a flag to the wrong verb is after.
BELONGS_ELSEWHERE: Mapping[str, str] = {
    "merge_lora": "after training: selfhood export --adapters DIR --merge_lora true",
    "dataset": "questions to be answered go to --val_dataset",
}

OFF = ("false", "no", "0", "0.0", "-1", "none", "null", "off", "{}", "[]", "")


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A flag that would change the result and is not there yet; ``harmless`` are the values that
    ask for what happens anyway."""

    hint: str | None = None
    harmless: tuple[str, ...] = OFF

    def is_harmless(self, values: Sequence[str]) -> bool:
        return bool(values) and all(value.strip().lower() in self.harmless for value in values)


UNSUPPORTED: Mapping[str, Unsupported] = {
    # model
    "task_type": Unsupported("chat models are trained here", ("causal_lm",)),
    "num_labels": Unsupported("chat models are trained here"),
    "load_in_8bit": Unsupported("use --quant_bits 4"),
    "rope_scaling": Unsupported(),
    "new_special_tokens": Unsupported(),
    "model_kwargs": Unsupported(),
    "use_cpu": Unsupported("hide the GPU with CUDA_VISIBLE_DEVICES="),
    "no_cuda": Unsupported("hide the GPU with CUDA_VISIBLE_DEVICES="),
    "hub_token": Unsupported("set MODELSCOPE_API_TOKEN or HF_TOKEN"),
    "external_plugins": Unsupported("no code from outside is run"),
    "custom_register_path": Unsupported("no code from outside is run"),
    "custom_dataset_info": Unsupported("name your columns with --columns"),
    # template
    "use_chat_template": Unsupported(OWN_TEMPLATE, ("true", "1", "yes")),
    "agent_template": Unsupported(),
    "response_prefix": Unsupported(
        "see --enable_thinking", (*OFF, "<think>\\n\\n</think>\\n\\n", "<think>\n\n</think>")
    ),
    "loss_scale": Unsupported(
        'every assistant turn is trained; mark others with "loss": false',
        (*OFF, "default", "ignore_empty_think", "default+ignore_empty_think"),
    ),
    # data
    "streaming": Unsupported("data is read whole"),
    "interleave_prob": Unsupported("write shares as --dataset a#500 b#250"),
    "train_dataset_mix_ratio": Unsupported("write shares as --dataset a#500 b#250"),
    "self_cognition_sample": Unsupported("use --dataset identity#N"),
    "train_dataset_sample": Unsupported("use --dataset NAME#N"),
    "val_dataset_sample": Unsupported("use --val_dataset NAME#N"),
    "cached_dataset": Unsupported(),
    "disable_auto_column_mapping": Unsupported("name your columns with --columns"),
    "load_data_args": Unsupported("give --val_dataset"),
    "load_dataset_config": Unsupported("give --val_dataset"),
    # tuner
    "use_galore": Unsupported(),
    "use_swift_lora": Unsupported(),
    "lora_bias": Unsupported(harmless=OFF),
    "target_parameters": Unsupported("use --target_modules or --target_regex"),
    "freeze_llm": Unsupported("see --freeze_parameters"),
    "lisa_activated_layers": Unsupported(),
    # training
    "optim": Unsupported(
        "AdamW is used", ("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw")
    ),
    "optimizer": Unsupported("AdamW is used"),
    "lr_scheduler_kwargs": Unsupported("see --lr_scheduler_type"),
    "max_epochs": Unsupported("use --num_train_epochs or --max_steps"),
    "label_smoothing_factor": Unsupported(),
    "loss_type": Unsupported(),
    "enable_dft_loss": Unsupported(),
    "enable_channel_loss": Unsupported(),
    "dataloader_drop_last": Unsupported("every row is trained"),
    "fsdp_config": Unsupported("see --fsdp fsdp2"),
    "sequence_parallel_size": Unsupported("a row is never cut among processes", (*OFF, "1")),
    "resume_only_model": Unsupported("to start anew from its weights use --adapters"),
    "ignore_data_skip": Unsupported("to start anew from its weights use --adapters"),
    "predict_with_generate": Unsupported("ask the checkpoint with selfhood infer"),
    "eval_on_start": Unsupported("see --eval_steps"),
    "eval_use_evalscope": Unsupported(),
    "push_to_hub": Unsupported("upload the folder with the hub's own tool"),
    # infer
    "pipeline_parallel_size": Unsupported("see docs/backends.md for several machines", (*OFF, "1")),
    "do_sample": Unsupported("use --temperature 0", ("true", "1", "yes")),
    "num_beams": Unsupported(harmless=(*OFF, "1")),
    "num_return_sequences": Unsupported(harmless=(*OFF, "1")),
    "presence_penalty": Unsupported("use --repetition_penalty"),
    "frequency_penalty": Unsupported("use --repetition_penalty"),
    "logprobs": Unsupported(),
    "metric": Unsupported("compare `response` with `labels` in the result file"),
    # deploy
    "ssl_keyfile": Unsupported("put a proxy that speaks TLS in front of it"),
    "ssl_certfile": Unsupported("put a proxy that speaks TLS in front of it"),
    # export
    "to_ollama": Unsupported(),
    "to_cached_dataset": Unsupported(),
    "to_mcore": Unsupported(),
    "to_hf": Unsupported(),
    "to_peft_format": Unsupported("adapters are in peft's format already"),
    "mcore_model": Unsupported(),
    "mcore_adapters": Unsupported(),
}


def no_effect(name: str, elsewhere: Mapping[str, str]) -> str | None:
    """Why a flag of other tools, or of another verb, says nothing here; None if it does not."""
    if name in NO_EFFECT:
        return NO_EFFECT[name]
    if name.startswith(BACKEND_PREFIXES):
        return "no option here stands for it"
    if name in elsewhere and name in HARMLESS_ELSEWHERE:
        return f"it belongs to {elsewhere[name]}"
    return None
