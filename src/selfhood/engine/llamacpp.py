"""llama.cpp beside us: the fast way on a laptop. Models and adapters are converted to GGUF once.

Each request says which adapter is to speak; the server answers many at a time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selfhood.console import say
from selfhood.engine.installed import check_backend
from selfhood.engine.llamacpp_child import KEY
from selfhood.engine.prompts import Prompts
from selfhood.engine.served import Program, Served
from selfhood.engine.together import together
from selfhood.engine.types import Chance, Delta, Passage, Request, Sampling, check_speaker
from selfhood.engine.wire import Hangup
from selfhood.errors import InputError, SelfhoodError
from selfhood.exporters.gguf import Shape, write_gguf
from selfhood.exporters.gguf_lora import write_gguf_lora
from selfhood.files import hash_text, locked, remove_leftovers
from selfhood.model.plain_lora import WEIGHTS, PlainLora
from selfhood.progress import Steps
from selfhood.recipe import BackendOptions, GgufType
from selfhood.starter import cache_folder

# Raise it when the converters write something else: files of older ones are not used again.
CONVERTER_VERSION = 1
MOST_TOKENS_KEPT = 32_768
"""Of all replies together: keys and values take memory."""
ANY_OBJECT = {"type": "object"}


class LlamaCppEngine:
    """Answers with a GGUF model and with GGUF adapters on it."""

    def __init__(
        self,
        model_path: Path,
        adapters: Mapping[str, Path],
        *,
        system: str | None,
        thinking: bool | None,
        options: BackendOptions,
    ) -> None:
        check_backend(options)
        model, loras = as_gguf(model_path, adapters, options.gguf_type)
        self._num_replies = num_replies = options.max_num_seqs
        self._prompts = Prompts.of(
            model_path,
            system=system,
            thinking=thinking,
            context=options.max_model_len or MOST_TOKENS_KEPT,
        )
        self._num_loras = len(loras)
        self._numbers = {name: number for number, name in enumerate(loras)}
        settings = {
            "model": str(model),
            "loras": [str(path) for path in loras.values()],
            "port": "{port}",
            "num_replies": num_replies,
            "num_tokens": num_tokens_kept(self._prompts.context, num_replies),
        }
        self._served = Served(
            Program(
                title="llama.cpp",
                python=sys.executable,
                module="selfhood.engine.llamacpp_child",
                arguments=[json.dumps(settings).replace('"{port}"', "{port}")],
                environment={},
                key_variable=KEY,
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
        return tuple(self._numbers)

    def score(self, passages: Sequence[Passage]) -> list[tuple[Chance, ...]]:
        raise InputError(
            "llama.cpp does not weigh a text that it is given",
            where="--infer_backend llamacpp",
            hint="native and vllm do",
        )

    def add_speaker(self, name: str, folder: Path) -> None:
        raise InputError(
            "llama.cpp takes adapters when it starts",
            where=str(folder),
            hint="start again with it among --adapters, or use --infer_backend native or vllm",
        )

    def remove_speaker(self, name: str) -> None:
        check_speaker(name, self.speakers)
        del self._numbers[name]

    def close(self) -> None:
        self._served.close()

    def _reply(
        self, index: int, request: Request, ids: tuple[int, ...], hangup: Hangup
    ) -> Iterator[Delta]:
        body = {
            **sampling_body(request.sampling),
            "prompt": list(ids),
            "n_predict": self._prompts.room(ids, request),
            "lora": self._scales(request.adapter),
            "cache_prompt": True,
            "stream": True,
        }
        ended, told = False, 0
        for event in self._served.wire.events("/completion", body, hangup):
            delta = delta_of(event, index, told)
            told += delta.num_tokens
            ended = delta.finish is not None
            yield delta
        if not ended and not hangup.is_over:
            self._served.check()
            raise SelfhoodError("broke off in the middle of a reply", where="llama.cpp")

    def _scales(self, name: str | None) -> list[dict[str, Any]]:
        """All of them, for where none is named the server keeps the keys and values of whoever
        spoke before. Those that were removed are silent."""
        mine = None if name is None else self._numbers[name]
        return [{"id": number, "scale": float(number == mine)} for number in range(self._num_loras)]


def delta_of(event: Mapping[str, Any], index: int, told: int) -> Delta:
    """``told`` tokens came before. Of a character that several tokens make, the server tells the
    last one only, so the ids are not all known and the sum is put right at the end."""
    chances = chances_of(event.get("completion_probabilities") or ())
    if not event.get("stop"):
        return Delta(index=index, text=event["content"], num_tokens=1, chances=chances)
    num_tokens = event["tokens_predicted"] - (event["stop_type"] == "eos")
    return Delta(
        index=index,
        text=event["content"],
        num_tokens=num_tokens - told,
        finish="length" if event["stop_type"] == "limit" else "stop",
        chances=chances,
        num_prompt_tokens=event["tokens_evaluated"],
    )


def num_tokens_kept(context: int, num_replies: int) -> int:
    """Room for keys and values, shared by all replies: at least one whole talk."""
    return max(context, min(context * num_replies, MOST_TOKENS_KEPT))


def sampling_body(sampling: Sampling) -> dict[str, Any]:
    """Every stage of llama.cpp's sampling, those that are off too: its own defaults are not."""
    body: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": MOST_TOKENS_KEPT,
        "seed": sampling.seed,
        "stop": list(sampling.stop),
    }
    if sampling.form == "json":
        body["json_schema"] = ANY_OBJECT
    if sampling.num_logprobs is not None:
        body["n_probs"] = max(sampling.num_logprobs, 1)
    return body


def chances_of(told: Sequence[Mapping[str, Any]]) -> tuple[Chance, ...]:
    return tuple(
        Chance(
            token=each["token"],
            logprob=each["logprob"],
            others=tuple((other["token"], other["logprob"]) for other in each["top_logprobs"]),
        )
        for each in told
    )


# Files


def as_gguf(
    model: Path, adapters: Mapping[str, Path], weights: GgufType
) -> tuple[Path, dict[str, Path]]:
    """The model and its adapters as GGUF files; what is no GGUF yet is converted into the cache."""
    if model.is_file() and adapters:
        raise InputError(
            "a .gguf file takes no adapters here: their layers are named by the original",
            where="--adapters",
            hint="give --model as the folder that they were trained on",
        )
    if model.is_file():
        return model, {}
    loras = {name: PlainLora.at(folder, backend="llamacpp") for name, folder in adapters.items()}
    shape = Shape.of(model)
    cache = cache_folder(os.environ) / "gguf"
    return _converted_model(model, cache, weights), {
        name: _converted_lora(lora, shape, cache) for name, lora in loras.items()
    }


def _converted_model(model: Path, cache: Path, weights: GgufType) -> Path:
    files = sorted(path for path in model.iterdir() if path.is_file())
    name = f"{model.name}-{weights}-{_fingerprint(files)}.gguf"
    out = cache / name
    if out.is_file():
        return out
    with locked(out, lambda: say("waiting for another process that converts the model")):
        if not out.is_file():
            remove_leftovers(out)
            with Steps() as steps:
                write_gguf(
                    model,
                    out,
                    weights=weights,
                    on_progress=partial(steps, "converting the model to GGUF, once"),
                )
    return out


def _converted_lora(lora: PlainLora, shape: Shape, cache: Path) -> Path:
    out = cache / f"{lora.folder.name}-{_fingerprint([lora.folder / WEIGHTS])}.lora.gguf"
    with locked(out, lambda: say("waiting for another process that converts the adapter")):
        if not out.is_file():
            remove_leftovers(out)
            write_gguf_lora(lora, shape, out)
    return out


def _fingerprint(files: Sequence[Path]) -> str:
    """Changes with every change of the files, as the disk knows them, and of the converters."""
    states = []
    for path in files:
        stat = path.stat()
        states.append(f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}")
    return hash_text(str(CONVERTER_VERSION), *states)[:12]
