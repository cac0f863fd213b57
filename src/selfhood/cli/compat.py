"""The one table of names that other tools and older tutorials use.

Spellings of ms-swift 2.x, 3.x and 4.x, and those that tutorials made up. Left: what people type;
right: the option here. Names not in these tables and not in ``recipe`` are mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping

ALIASES: Mapping[str, str] = {
    # model
    "model_id_or_path": "model",
    "model_name_or_path": "model",
    "model_dir": "model",
    "revision": "model_revision",
    "dtype": "torch_dtype",
    "adapter": "adapters",
    "adapter_path": "adapters",  # tutorials: merge_lora --adapter_path, never in any release
    "adapter_name_or_path": "adapters",
    "ckpt_dir": "adapters",  # 2.x, 3.x
    "lora_modules": "adapters",
    "system_prompt": "system",
    # data
    "train_dataset": "dataset",
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
    # training
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "epochs": "num_train_epochs",
    "lr": "learning_rate",
    "lr_scheduler": "lr_scheduler_type",
    "adam_eps": "adam_epsilon",
    "evaluation_strategy": "eval_strategy",
    # infer, export
    "stop": "stop_words",
    "eval_dataset": "val_dataset",
    "result_dir": "result_path",
    "merge_path": "output_dir",  # tutorials: merge_lora --merge_path, never in any release
    "merged_lora_path": "output_dir",
}

VALUES: Mapping[str, Mapping[str, str]] = {
    "torch_dtype": {
        "fp32": "float32",
        "float": "float32",
        "bf16": "bfloat16",
        "fp16": "float16",
        "half": "float16",
    },
    "target_modules": {"ALL": "all-linear", "all": "all-linear", "DEFAULT": "all-linear"},
    "infer_backend": {"pt": "native", "transformers": "native", "vllm": "native"},
    "attn_impl": {"flash_attn": "sdpa", "flash_attention_2": "sdpa"},
    "lr_scheduler_type": {"constant_with_warmup": "constant"},
}

# Values that are taken, but not as they are meant elsewhere: the user is told.
STAND_INS: Mapping[str, Mapping[str, str]] = {
    "infer_backend": {"vllm": "not connected yet; the native backend gives the same answers"},
    "attn_impl": {
        "flash_attn": "PyTorch's own attention is used",
        "flash_attention_2": "PyTorch's own attention is used",
    },
}

NO_EFFECT: Mapping[str, str] = {
    "model_type": "the architecture is read from the model itself",
    "template": "the model's own chat template is used",
    "template_type": "the model's own chat template is used",
    "task_type": "only chat models are trained here",
    "dataloader_num_workers": "rows are prepared before training starts",
    "dataset_num_proc": "rows are prepared before training starts",
    "dataloader_pin_memory": "rows are prepared before training starts",
    "dataloader_prefetch_factor": "rows are prepared before training starts",
    "lazy_tokenize": "rows are prepared before training starts",
    "load_from_cache_file": "nothing is cached that could go stale",
    "gradient_checkpointing": "short rows fit without it; the result is the same",
    "gradient_checkpointing_kwargs": "short rows fit without it; the result is the same",
    "packing": "every update is packed here, with the gradient of the plain loop",
    "padding_free": "every update is packed here, with the gradient of the plain loop",
    "packing_length": "see --token_budget",
    "group_by_length": "every update is packed here, in the planned order",
    "use_logits_to_keep": "logits are always computed at trained tokens only",
    "use_liger_kernel": "not needed: logits are computed at trained tokens only",
    "use_flash_attn": "the fastest attention that is installed is chosen",
    "use_chat_template": "chat models are always asked through their template",
    "remove_unused_columns": "columns that are not used are never read",
    "check_model": "nothing is sent to a hub unless a model or dataset comes from there",
    "check_model_is_latest": "nothing is sent to a hub unless a model or dataset comes from there",
    "check_dataset_strategy": "bad rows always stop the run; see --strict",
    "download_mode": "the hub client's cache decides",
    "save_safetensors": "nothing else is written",
    "safe_serialization": "nothing else is written",
    "save_only_model": "checkpoints hold the adapter and a few kilobytes of state",
    "add_output_dir_suffix": "see --add_version",
    "vllm_max_model_len": "it bounds vLLM's memory; the native backend grows as needed",
    "max_model_len": "it bounds vLLM's memory; the native backend grows as needed",
    "gpu_memory_utilization": "it bounds vLLM's memory; the native backend grows as needed",
    "vllm_gpu_memory_utilization": "it bounds vLLM's memory; the native backend grows as needed",
    "tensor_parallel_size": "it is vLLM's; the native backend uses one device",
    "vllm_tensor_parallel_size": "it is vLLM's; the native backend uses one device",
    "load_args": "what a checkpoint remembers is always used where the command is silent",
    "ignore_args_error": "unknown flags are mistakes",
    "load_data_args": "give --val_dataset",
    "write_batch_size": "answers are written as they come",
    "eval_human": "a talk starts whenever no --val_dataset is given",
    "do_sample": "see --temperature; 0 is greedy",
    "use_cache": "generation always caches",
    "logging_first_step": "the first update is always logged",
    "overwrite_output_dir": "each run gets a folder of its own",
    "full_determinism": "runs on a CPU are deterministic already",
    "report_to": "TensorBoard files are always written; other trackers are not connected",
    "logging_dir": "TensorBoard files are in <run>/runs",
    "run_name": "the run is called as its folder",
    "acc_strategy": "accuracy is counted by token",
    "loss_scale": "every assistant turn is trained, its end mark included",
    "ddp_find_unused_parameters": "one process trains",
    "ddp_timeout": "one process trains",
    "device_map": "the model goes to the GPU if there is one",
    "optim": "AdamW is used",
    "max_shard_size": "files are split as transformers does",
    "load_best_model_at_end": "the best checkpoint is named at the end",
    "metric_for_best_model": "the lowest validation loss is the best",
    "greater_is_better": "the lowest validation loss is the best",
    "self_cognition_sample": "use --dataset identity#N",
    "train_dataset_sample": "use --dataset NAME#N",
}
