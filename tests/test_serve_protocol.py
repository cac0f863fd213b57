"""Whatever a stranger sends is either read or refused in OpenAI's form; nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfhood.engine.types import Sampling
from selfhood.serve.fields import read_object
from selfhood.serve.protocol import LARGEST_SEED, Asked, Terms, read_chat, read_completion
from selfhood.serve.refusal import Refusal
from selfhood.serve.speakers import Speaker, Speakers
from tests.parrot import Parrot

TERMS = Terms(defaults=Sampling(temperature=0.7, stop=("END",)), most_tokens=100, most_choices=8)
SPEAKERS = Speakers(
    Parrot("fox"),
    [Speaker(name="tiny"), Speaker(name="fox", adapter="fox")],
    model_path=Path(),
)

numbers = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 2**63, 2**64, 1e308, 0.5])
scraps = st.none() | st.booleans() | numbers | st.text(max_size=8)
values = st.recursive(
    scraps,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = (
    "model", "messages", "prompt", "temperature", "top_p", "top_k", "n", "stop", "seed", "stream",
    "stream_options", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "tools",
    "tool_choice", "response_format", "echo", "user", "chat_template_kwargs", "logit_bias",
    "parallel_tool_calls", "presence_penalty", "suffix", "modalities",
)  # fmt: skip
messages = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "name"]),
        values | st.sampled_from(["user", "assistant", "system", "tool", "hi"]),
    ),
    max_size=3,
)
GOOD = {"model": "fox", "messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}
odd = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)
bodies = st.builds(
    lambda talk, more: {**GOOD, **talk, **more},
    st.fixed_dictionaries({}, optional={"messages": messages, "prompt": st.lists(st.integers())}),
    odd,
)


@settings(max_examples=100, deadline=None)
@given(body=bodies, read=st.sampled_from([read_chat, read_completion]))
def test_any_json_is_read_or_refused(body: dict[str, Any], read: Any) -> None:
    try:
        asked = read(read_object(json.dumps(body).encode()), SPEAKERS, TERMS)
    except Refusal as refusal:
        assert refusal.status in (400, 404)
        assert json.dumps(refusal.body())
    else:
        check(asked)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        assert isinstance(read_object(body), dict)
    except Refusal as refusal:
        assert refusal.status == 400


def check(asked: Asked) -> None:
    """Nothing leaves the reader that is out of bounds."""
    assert 1 <= len(asked.requests) <= TERMS.most_choices
    for request in asked.requests:
        sampling = request.sampling
        assert 0 <= sampling.max_new_tokens <= TERMS.most_tokens
        assert 0 <= sampling.temperature <= 2 and 0 <= sampling.top_p <= 1
        assert 0 <= sampling.seed <= LARGEST_SEED and sampling.top_k >= 0
        assert sampling.num_logprobs is None or 0 <= sampling.num_logprobs <= 20
        assert all(sampling.stop)
        assert request.text is not None or request.messages


def chat(**options: Any) -> Asked:
    table = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], **options}
    return read_chat(table, SPEAKERS, TERMS)


def test_what_a_request_does_not_say_is_as_the_command_line_has_it() -> None:
    sampling = chat().requests[0].sampling
    assert (sampling.temperature, sampling.stop, sampling.max_new_tokens) == (0.7, ("END",), 100)
    assert chat(temperature=0, stop="x").requests[0].sampling.stop == ("x",)


def test_a_typed_seed_holds_for_every_request() -> None:
    terms = Terms(defaults=Sampling(seed=5), has_seed=True)
    table = {"model": "tiny", "prompt": "x"}
    assert read_completion(table, SPEAKERS, terms).requests[0].sampling.seed == 5


def test_null_is_as_good_as_absent() -> None:
    assert chat(**dict.fromkeys(FIELDS[3:])).requests[0].messages == chat().requests[0].messages


@pytest.mark.parametrize("prompt", ["", [], [[]], ["a", 1], [1.5], [True], [-1], [2**40], None, {}])
def test_a_prompt_that_is_neither_text_nor_tokens_is_refused(prompt: Any) -> None:
    with pytest.raises(Refusal, match="prompt"):
        read_completion({"model": "tiny", "prompt": prompt}, SPEAKERS, TERMS)


def test_a_request_without_a_model_is_refused() -> None:
    with pytest.raises(Refusal, match="'model' is missing"):
        read_chat({"messages": [{"role": "user", "content": "hi"}]}, SPEAKERS, TERMS)
