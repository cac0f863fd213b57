"""How replies are drawn, what computes them, and who may ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from selfhood.recipe.option import Options, option

Backend = Literal["native", "vllm", "llamacpp", "openai"]
GgufType = Literal["q8_0", "f16", "bf16", "f32"]


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
