"""A body of OpenAI's protocol -> what the engine is asked.

What a client may leave out is as OpenAI has it, or as the command line says. What would change the
reply and is not there is refused; what changes nothing is taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from selfhood.engine.types import Form, Passage, Request, Sampling, Text
from selfhood.serve.fields import Fields
from selfhood.serve.messages import read_messages, read_tools
from selfhood.serve.refusal import Refusal, invalid
from selfhood.serve.speakers import Speaker, Speakers

COMPLETION_TOKENS = 16  # where a completion does not say how long; so it is at OpenAI's
MOST_TEMPERATURE = 2.0
MOST_STOPS, LONGEST_STOP = 16, 256
LARGEST_SEED = 2**63 - 1
LARGEST_ID = 2**31 - 1

HARMLESS: Mapping[str, Collection[Any] | None] = {
    **dict.fromkeys((
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "verbosity", "reasoning_effort",
    )),
    "best_of": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "min_p": (0,),
    "min_tokens": (0,),
    "logit_bias": ({},),
    "suffix": ("",),
    "modalities": (["text"],),
    "ignore_eos": (False,),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True, False),
    "include_stop_str_in_output": (False,),
    "add_generation_prompt": (True, False),
    "continue_final_message": (True, False),
    "add_special_tokens": (False,),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds where a request is silent, and how much one may ask for."""

    defaults: Sampling
    has_seed: bool = False
    """Whether ``defaults.seed`` was meant; else each request gets one of its own."""
    most_tokens: int = 4096
    most_choices: int = 64
    most_logprobs: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One HTTP request, read. A choice of the answer is a request to the engine."""

    speaker: Speaker
    requests: tuple[Request, ...]
    num_per_prompt: int
    streams: bool
    tells_usage: bool
    """Whether a stream ends with its usage."""
    echoed: tuple[Passage, ...] = ()
    """Prompts that stand before the replies, one a choice."""
    most_calls: int = 0
    """How many calls of functions a reply may make."""

    @property
    def tells_chances(self) -> bool:
        return self.requests[0].sampling.num_logprobs is not None


def read_chat(table: Mapping[str, Any], speakers: Speakers, terms: Terms) -> Asked:
    """``POST /v1/chat/completions``."""
    fields = Fields(table)
    speaker = speakers.find(fields.needed_text("model"))
    messages = speaker.addressed(read_messages(fields))
    tools = read_tools(fields)
    is_one_call = fields.take("parallel_tool_calls") is False
    length = _length(fields, terms, terms.defaults.max_new_tokens, "max_completion_tokens")
    sampling = replace(
        _sampling(fields, terms, length),
        form=_form(fields),
        num_logprobs=_chat_logprobs(fields, terms),
    )
    thinking = _thinking(fields)
    num = _choices(fields, terms)
    streams, tells_usage = _stream(fields)
    fields.end(HARMLESS)
    request = Request(
        messages=messages,
        sampling=sampling,
        adapter=speaker.adapter,
        thinking=speaker.thinking if thinking is None else thinking,
        tools=tools,
    )
    return Asked(
        speaker=speaker,
        requests=_with_seeds([request], num),
        num_per_prompt=num,
        streams=streams,
        tells_usage=tells_usage,
        most_calls=(1 if is_one_call else len(tools) * 16) if tools else 0,
    )


def read_completion(table: Mapping[str, Any], speakers: Speakers, terms: Terms) -> Asked:
    """``POST /v1/completions``."""
    fields = Fields(table)
    speaker = speakers.find(fields.needed_text("model"))
    prompts = _prompts(fields, terms)
    echoes = fields.flag("echo")
    length = _length(fields, terms, COMPLETION_TOKENS, low=0 if echoes else 1)
    num_logprobs = fields.whole("logprobs", low=0, high=terms.most_logprobs)
    sampling = replace(
        _sampling(fields, terms, length), form=_form(fields), num_logprobs=num_logprobs
    )
    num = _choices(fields, terms, len(prompts))
    streams, tells_usage = _stream(fields)
    fields.end(HARMLESS)
    requests = [
        Request(messages=(), text=prompt, sampling=sampling, adapter=speaker.adapter)
        for prompt in prompts
    ]
    echoed = [
        Passage(
            prompt="" if isinstance(prompt, str) else (),
            text=prompt,
            adapter=speaker.adapter,
            num_logprobs=num_logprobs or 0,
        )
        for prompt in prompts
    ]
    return Asked(
        speaker=speaker,
        requests=_with_seeds(requests, num),
        num_per_prompt=num,
        streams=streams,
        tells_usage=tells_usage,
        echoed=tuple(each for each in echoed for _ in range(num)) if echoes else (),
    )


def _sampling(fields: Fields, terms: Terms, length: int) -> Sampling:
    defaults = terms.defaults
    temperature = fields.number("temperature", low=0, high=MOST_TEMPERATURE)
    top_p = fields.number("top_p", low=0, high=1)
    top_k = fields.whole("top_k", low=-1, high=LARGEST_ID)
    penalty = fields.number("repetition_penalty", low=0.01, high=10)
    return replace(
        defaults,
        temperature=defaults.temperature if temperature is None else temperature,
        top_p=defaults.top_p if top_p is None else top_p,
        top_k=defaults.top_k if top_k is None else max(top_k, 0),  # -1 is vLLM's word for off
        repetition_penalty=defaults.repetition_penalty if penalty is None else penalty,
        max_new_tokens=length,
        stop=_stop(fields) or defaults.stop,
        seed=_seed(fields, terms),
    )


def _length(
    fields: Fields, terms: Terms, default: int, newer_name: str | None = None, low: int = 1
) -> int:
    """A request may ask for more than it gets: the reply then ends with finish_reason length."""
    asked = fields.whole("max_tokens", low=low, high=LARGEST_ID)
    if newer_name is not None:
        newer = fields.whole(newer_name, low=low, high=LARGEST_ID)
        asked = asked if newer is None else newer
    return min(default if asked is None else asked, terms.most_tokens)


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.take("stop")
    words = [value] if isinstance(value, str) else value or []
    if (
        not isinstance(words, list)
        or len(words) > MOST_STOPS
        or not all(isinstance(word, str) and 0 < len(word) <= LONGEST_STOP for word in words)
    ):
        raise invalid(
            f"Invalid 'stop': expected at most {MOST_STOPS} strings of 1 to {LONGEST_STOP} "
            "characters.",
            "stop",
        )
    return tuple(words)


def _seed(fields: Fields, terms: Terms) -> int:
    seed = fields.whole("seed", low=-LARGEST_SEED, high=LARGEST_SEED)
    if seed is not None:
        return abs(seed)
    return terms.defaults.seed if terms.has_seed else secrets.randbits(62)


def _with_seeds(requests: list[Request], num: int) -> tuple[Request, ...]:
    """``num`` choices of each; the first has the seed that was asked for."""
    return tuple(
        replace(
            request,
            sampling=replace(
                request.sampling, seed=(request.sampling.seed + number) % (LARGEST_SEED + 1)
            ),
        )
        for request in requests
        for number in range(num)
    )


def _choices(fields: Fields, terms: Terms, num_prompts: int = 1) -> int:
    num = fields.whole("n", low=1, high=LARGEST_ID) or 1
    if num * num_prompts > terms.most_choices:
        raise invalid(f"Invalid 'n': a request has at most {terms.most_choices} choices.", "n")
    return num


def _form(fields: Fields) -> Form:
    table = fields.table("response_format")
    kind = table.text("type") or "text"
    if kind not in ("text", "json_object"):
        raise Refusal(
            400,
            "Invalid 'response_format': there are 'text' and 'json_object'.",
            param="response_format",
            code="unsupported_value",
        )
    table.end({})
    return "json" if kind == "json_object" else "text"


def _chat_logprobs(fields: Fields, terms: Terms) -> int | None:
    are_wanted = fields.flag("logprobs")
    num = fields.whole("top_logprobs", low=0, high=terms.most_logprobs)
    if num and not are_wanted:
        raise invalid("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    return (num or 0) if are_wanted else None


def _thinking(fields: Fields) -> bool | None:
    """vLLM's way to say it."""
    options = fields.table("chat_template_kwargs")
    thinking = options.take("enable_thinking")
    if thinking is not None and not isinstance(thinking, bool):
        place = options.place("enable_thinking")
        raise invalid(f"Invalid '{place}': expected true or false.", place)
    options.end({})
    return thinking


def _stream(fields: Fields) -> tuple[bool, bool]:
    streams = fields.flag("stream")
    options = fields.table("stream_options")
    tells_usage = options.flag("include_usage")
    options.end({"include_obfuscation": None, "continuous_usage_stats": (False,)})
    return streams, tells_usage


def _prompts(fields: Fields, terms: Terms) -> list[Text]:
    """A text, texts, token ids, or several of these."""
    prompt = fields.take("prompt")
    if isinstance(prompt, str):
        return [_not_empty(prompt)]
    if not isinstance(prompt, list) or not prompt:
        raise invalid("Invalid 'prompt': expected a string or an array.", "prompt")
    if not isinstance(prompt[0], (str, list)):
        return [_ids(prompt)]
    if len(prompt) > terms.most_choices:
        raise invalid(f"Invalid 'prompt': at most {terms.most_choices} at once.", "prompt")
    return [_not_empty(each) if isinstance(each, str) else _ids(each) for each in prompt]


def _not_empty(prompt: str) -> str:
    if not prompt:
        raise invalid("Invalid 'prompt': it is empty.", "prompt")
    return prompt


def _ids(prompt: object) -> tuple[int, ...]:
    if (
        not isinstance(prompt, list)
        or not prompt
        or not all(type(each) is int and 0 <= each <= LARGEST_ID for each in prompt)
    ):
        raise invalid("Invalid 'prompt': expected text or token ids.", "prompt")
    return tuple(prompt)
