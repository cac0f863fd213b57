"""vLLM beside us, in an interpreter of its own if need be: it pins its own transformers.

Prompts go over as tokens, rendered here; adapters come and go by name while it answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selfhood.engine.installed import vllm_python
from selfhood.engine.openai import chances_of
from selfhood.engine.prompts import Prompts
from selfhood.engine.served import Program, Served
from selfhood.engine.together import together
from selfhood.engine.types import (
    Chance,
    Delta,
    Finish,
    Passage,
    Request,
    Sampling,
    check_speaker,
)
from selfhood.engine.wire import Hangup
from selfhood.errors import InputError, SelfhoodError
from selfhood.model.load import DTYPES, best_device, best_dtype
from selfhood.model.plain_lora import PlainLora
from selfhood.recipe import BackendOptions, Dtype

BASE = "base"
"""What the model itself is called over there."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Of which vLLM wants one as the largest."""
LOGPROBS_TOLD = 20


class VllmEngine:
    """Answers with a model folder and with plain LoRA adapters on it."""

    def __init__(
        self,
        model_path: Path,
        adapters: Mapping[str, Path],
        *,
        system: str | None,
        thinking: bool | None,
        dtype: Dtype | None,
        options: BackendOptions,
    ) -> None:
        if model_path.is_file():
            raise InputError(
                "vllm takes model folders",
                where=str(model_path),
                hint="use --infer_backend llamacpp for a .gguf file",
            )
        loras = {name: PlainLora.at(path, backend="vllm") for name, path in adapters.items()}
        python = vllm_python(options)
        self._max_rank = max_rank(options.max_lora_rank, [lora.rank for lora in loras.values()])
        self._prompts = Prompts.of(
            model_path, system=system, thinking=thinking, context=options.max_model_len
        )
        self._num_replies = options.max_num_seqs
        self._speakers = list(loras)
        self._served = Served(
            Program(
                title="vllm",
                python=python,
                module="vllm.entrypoints.openai.api_server",
                arguments=[
                    *self._arguments(model_path, dtype, options),
                    *_lora_arguments(loras, self._max_rank, options.max_num_seqs),
                ],
                environment=ENVIRONMENT,
                key_variable="VLLM_API_KEY",
                hint="see --max_model_len, --gpu_memory_utilization, --enforce_eager",
            )
        )

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        asked = [(request, self._prompts.ids(request)) for request in requests]
        for request, _ in asked:
            check_speaker(request.adapter, self.speakers)
        self._served.check()
        yield from together(
            [partial(self._reply, index, *each) for index, each in enumerate(asked)],
            self._num_replies,
        )

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(self._speakers)

    def score(self, passages: Sequence[Passage]) -> list[tuple[Chance, ...]]:
        for passage in passages:
            check_speaker(passage.adapter, self.speakers)
        return [self._weigh(passage) for passage in passages]

    def add_speaker(self, name: str, folder: Path) -> None:
        lora = PlainLora.at(folder, backend="vllm")
        if self._max_rank is None or lora.rank > self._max_rank:
            raise InputError(
                f"vllm was started for adapters of rank {self._max_rank or 0}, not {lora.rank}",
                where=str(folder),
                hint=f"start it again with --max_lora_rank {lora.rank}",
            )
        body = {"lora_name": name, "lora_path": str(folder.resolve())}
        self._served.wire.post("/v1/load_lora_adapter", body)
        self._speakers.append(name)

    def remove_speaker(self, name: str) -> None:
        check_speaker(name, self.speakers)
        self._speakers.remove(name)
        self._served.wire.post("/v1/unload_lora_adapter", {"lora_name": name})

    def close(self) -> None:
        self._served.close()

    def _arguments(
        self, model_path: Path, dtype: Dtype | None, options: BackendOptions
    ) -> list[str]:
        own = best_dtype(best_device(), dtype)
        names = {value: name for name, value in DTYPES.items()}
        return [
            "--host", "127.0.0.1", "--port", "{port}",
            "--model", str(model_path.resolve()), "--served-model-name", BASE,
            "--dtype", names[own],
            "--max-model-len", str(self._prompts.context),
            "--max-num-seqs", str(options.max_num_seqs),
            "--gpu-memory-utilization", str(options.gpu_memory_utilization),
            "--tensor-parallel-size", str(options.tensor_parallel_size),
            "--generation-config", "vllm",
            "--disable-uvicorn-access-log",
            *(["--enforce-eager"] if options.enforce_eager else []),
        ]  # fmt: skip

    def _reply(
        self, index: int, request: Request, ids: tuple[int, ...], hangup: Hangup
    ) -> Iterator[Delta]:
        body = {
            **sampling_body(request.sampling),
            "model": request.adapter or BASE,
            "prompt": list(ids),
            "max_tokens": self._prompts.room(ids, request),
            "stop_token_ids": list(self._prompts.ends),
            "return_token_ids": True,
            "stream": True,
        }
        ended = False
        for event in self._served.wire.events("/v1/completions", body, hangup):
            for choice in event["choices"]:
                finish = finish_of(choice)
                ended = ended or finish is not None
                yield self._delta(index, choice, finish, len(ids))
        if not ended and not hangup.is_over:
            self._served.check()
            raise SelfhoodError("broke off in the middle of a reply", where="vllm")

    def _delta(
        self, index: int, choice: Mapping[str, Any], finish: Finish | None, num_prompt_tokens: int
    ) -> Delta:
        ids = self._prompts.spoken(choice.get("token_ids") or ())
        return Delta(
            index=index,
            text=choice["text"],
            num_tokens=len(ids),
            ids=ids,
            finish=finish,
            chances=chances_of(choice.get("logprobs")),
            num_prompt_tokens=num_prompt_tokens if finish else 0,
        )

    def _weigh(self, passage: Passage) -> tuple[Chance, ...]:
        before = self._prompts.tokens(passage.prompt)
        ids = before + self._prompts.tokens(passage.text)
        body = {
            "model": passage.adapter or BASE,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": min(passage.num_logprobs, LOGPROBS_TOLD),
        }
        answer = self._served.wire.post("/v1/completions", body)
        told = answer["choices"][0]["prompt_logprobs"]
        start = max(len(before), 1)
        pairs = zip(ids[start:], told[start:], strict=True)
        return tuple(weighed(token, places, passage.num_logprobs) for token, places in pairs)


ENVIRONMENT: Mapping[str, str] = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",  # on loopback, behind our key
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def max_rank(asked: int | None, ranks: Sequence[int]) -> int | None:
    """vLLM's room for adapters; None where there are none and nobody asked for any."""
    if asked is None and not ranks:
        return None
    most = max([asked or 0, *ranks])
    fitting = next((rank for rank in RANKS if rank >= most), None)
    if fitting is None:
        raise InputError(
            f"an adapter has rank {most}; vllm holds {RANKS[-1]} at most",
            where="--infer_backend vllm",
            hint="merge it: selfhood export --merge_lora true",
        )
    return fitting


def _lora_arguments(
    loras: Mapping[str, PlainLora], rank: int | None, num_replies: int
) -> list[str]:
    if rank is None:
        return []
    modules = [f"{name}={lora.folder.resolve()}" for name, lora in loras.items()]
    at_once = min(max(len(loras), 1), num_replies)
    return [
        "--enable-lora", "--max-lora-rank", str(rank), "--max-loras", str(at_once),
        *(["--lora-modules", *modules] if modules else []),
    ]  # fmt: skip


def sampling_body(sampling: Sampling) -> dict[str, Any]:
    body: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed,
        "stop": list(sampling.stop),
    }
    if sampling.form == "json":
        body["response_format"] = {"type": "json_object"}
    if sampling.num_logprobs is not None:
        body["logprobs"] = min(sampling.num_logprobs, LOGPROBS_TOLD)
    return body


def finish_of(choice: Mapping[str, Any]) -> Finish | None:
    reason = choice.get("finish_reason")
    if reason is None:
        return None
    return "length" if reason == "length" else "stop"


def weighed(token: int, places: Mapping[str, Mapping[str, Any]], num_others: int) -> Chance:
    """vLLM tells of a token of the prompt, and of those that were likeliest in its place."""
    own = places[str(token)]
    ranked = sorted(places.values(), key=lambda place: -place["logprob"])[:num_others]
    return Chance(
        token=own["decoded_token"] or "",
        logprob=own["logprob"],
        others=tuple((place["decoded_token"] or "", place["logprob"]) for place in ranked),
    )
