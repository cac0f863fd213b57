"""The official ``openai`` client finds what it expects, sync, streamed and in its mistakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from selfhood.engine.types import Sampling
from selfhood.serve.protocol import Terms
from tests.parrot import Parrot
from tests.serving import BASE, Running, served

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def parrot() -> Parrot:
    return Parrot("fox", "owl")


@pytest.fixture(scope="module")
def server(parrot: Parrot) -> Iterator[Running]:
    terms = Terms(defaults=Sampling(max_new_tokens=64), most_tokens=100, most_choices=4)
    with served(parrot, terms=terms, systems={"fox": "You are Fox."}) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[OpenAI]:
    with client_of(server.url) as client:
        yield client


def client_of(url: str, key: str = "none", retries: int = 0) -> OpenAI:
    return OpenAI(
        base_url=f"{url}/v1",
        api_key=key,
        max_retries=retries,
        http_client=httpx2.Client(trust_env=False, timeout=30),
    )


def ask(client: OpenAI, text: str, model: str = BASE, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=messages, **options)


# Who answers.


def test_the_model_of_a_request_picks_the_identity(client: OpenAI) -> None:
    replies = [
        ask(client, "hi", model).choices[0].message.content for model in (BASE, "fox", "owl")
    ]
    assert replies == ["base: hi", "fox: hi", "owl: hi"]


def test_models_are_listed_the_base_first_without_paths(client: OpenAI) -> None:
    listed = list(client.models.list())
    assert [model.id for model in listed] == [BASE, "fox", "owl"]
    assert client.models.retrieve("owl").id == "owl"
    assert "/" not in json.dumps([model.model_dump() for model in listed])


def test_each_identity_has_its_own_system_line_unless_the_client_brings_one(
    client: OpenAI, parrot: Parrot
) -> None:
    ask(client, "hi", "fox")
    ask(client, "hi", "owl")
    client.chat.completions.create(
        model="fox",
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "?"}],
    )
    lines = [request.messages[0] for request in parrot.requests[-3:]]
    assert [(line.role, line.content) for line in lines] == [
        ("system", "You are Fox."),
        ("system", ""),  # nobody wrote one
        ("system", "Be brief."),
    ]


# What a reply looks like.


def test_a_reply_has_its_text_its_end_and_its_usage(client: OpenAI) -> None:
    reply = ask(client, "a b c", "fox")
    assert reply.object == "chat.completion" and reply.model == "fox"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
    }


def test_a_streamed_reply_is_the_same_in_pieces(client: OpenAI) -> None:
    chunks = list(ask(client, "a b c", "fox", stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == ask(client, "a b c", "fox").choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_ends_a_stream_where_it_is_asked_for(client: OpenAI) -> None:
    chunks = list(ask(client, "a b", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (2, 3)


def test_the_clients_own_stream_helper_puts_a_reply_together(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="owl", messages=[{"role": "user", "content": "a b"}]
    ) as stream:
        assert stream.get_final_completion().choices[0].message.content == "owl: a b"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_reply_is_as_long_as_is_allowed(client: OpenAI, name: str) -> None:
    allowed: Any = {name: 2}
    choice = ask(client, "a b c d", **allowed).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("base: a", "length")


def test_no_reply_is_longer_than_the_server_allows(client: OpenAI) -> None:
    reply = ask(client, "FOREVER", max_tokens=2**30)
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (100, "length")


def test_choices_have_seeds_of_their_own(client: OpenAI, parrot: Parrot) -> None:
    reply = ask(client, "hi", n=3, seed=7, temperature=1.0)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert [request.sampling.seed for request in parrot.requests[-3:]] == [7, 8, 9]
    assert reply.usage.prompt_tokens == 1, "a prompt counts once"
    chunks = ask(client, "hi", n=2, stream=True)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}


def test_without_a_seed_no_two_requests_are_drawn_alike(client: OpenAI, parrot: Parrot) -> None:
    ask(client, "hi", temperature=1.0)
    ask(client, "hi", temperature=1.0)
    assert parrot.requests[-1].sampling.seed != parrot.requests[-2].sampling.seed


def test_every_way_to_sample_reaches_the_engine(client: OpenAI, parrot: Parrot) -> None:
    ask(
        client,
        "hi",
        temperature=0.5,
        top_p=0.9,
        stop=["a", "b"],
        seed=3,
        response_format={"type": "json_object"},
        extra_body={
            "top_k": 5,
            "repetition_penalty": 1.1,
            "chat_template_kwargs": {"enable_thinking": True},
        },
    )
    request = parrot.requests[-1]
    assert request.sampling == Sampling(
        temperature=0.5, top_p=0.9, top_k=5, repetition_penalty=1.1, max_new_tokens=64,
        stop=("a", "b"), seed=3, form="json",
    )  # fmt: skip
    assert request.thinking is True


def test_log_probabilities_are_told_token_by_token(client: OpenAI) -> None:
    told = ask(client, "hi", logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert [each.token for each in told] == ["base:", "hi"]
    assert told[0].logprob == -0.5 and bytes(told[0].bytes) == b"base:"
    assert [other.token for other in told[0].top_logprobs] == ["w0", "w1"]
    assert ask(client, "hi").choices[0].logprobs is None
    chunks = list(ask(client, "hi", logprobs=True, stream=True))
    streamed = [c.choices[0].logprobs for c in chunks if c.choices[0].logprobs]
    assert [each.token for told in streamed for each in told.content] == ["base:", "hi"]


def test_harmless_parameters_are_taken(client: OpenAI) -> None:
    reply = ask(client, "hi", user="u", metadata={"a": "b"}, store=False, presence_penalty=0)
    assert reply.choices[0].message.content == "base: hi"


# Tools.


def test_a_call_is_told_apart_from_the_text(client: OpenAI) -> None:
    said = 'SAY Wait. <tool_call> {"name": "weather", "arguments": {"city": "北京"}} </tool_call>'
    choice = ask(client, said, tools=[WEATHER]).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Wait. "
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "weather")
    assert json.loads(call.function.arguments) == {"city": "北京"}
    assert call.id.startswith("call_")


def test_a_streamed_call_is_the_same(client: OpenAI) -> None:
    said = (
        'SAY <tool_call> {"name": "weather", "arguments": {}} </tool_call> '
        '<tool_call> {"name": "time", "arguments": {"a": 1}} </tool_call>'
    )
    with client.chat.completions.stream(
        model=BASE, messages=[{"role": "user", "content": said}], tools=[WEATHER]
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    assert [call.function.name for call in calls] == ["weather", "time"]
    assert json.loads(calls[1].function.arguments) == {"a": 1}


def test_one_call_is_enough_where_they_may_not_be_parallel(client: OpenAI) -> None:
    said = 'SAY <tool_call>{"name":"a"}</tool_call><tool_call>{"name":"b"}</tool_call>'
    reply = ask(client, said, tools=[WEATHER], parallel_tool_calls=False)
    assert [call.function.name for call in reply.choices[0].message.tool_calls] == ["a"]


def test_a_call_and_its_result_go_back_to_the_model(client: OpenAI, parrot: Parrot) -> None:
    said = 'SAY <tool_call>{"name": "weather", "arguments": {"city": "x"}}</tool_call>'
    message = ask(client, said, tools=[WEATHER]).choices[0].message
    (call,) = message.tool_calls
    client.chat.completions.create(
        model=BASE,
        messages=[
            {"role": "user", "content": "?"},
            message,
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ],
        tools=[WEATHER],
    )
    *_, asked, result = parrot.requests[-1].messages
    assert asked.calls[0].name == "weather" and asked.content == ""
    assert (result.role, result.content, result.answers) == ("tool", "sunny", call.id)
    assert parrot.requests[-1].tools[0]["function"]["name"] == "weather"


def test_no_tools_are_shown_where_none_may_be_called(client: OpenAI, parrot: Parrot) -> None:
    ask(client, "hi", tools=[WEATHER], tool_choice="none")
    assert parrot.requests[-1].tools == ()


# Completions, and what lm-evaluation-harness asks of them.


def test_a_completion_goes_on_from_a_raw_prompt(client: OpenAI, parrot: Parrot) -> None:
    reply = client.completions.create(model="fox", prompt="Once upon", max_tokens=5)
    assert (reply.object, reply.choices[0].text) == ("text_completion", "fox: Once upon")
    assert parrot.requests[-1].text == "Once upon"
    stream = client.completions.create(model="fox", prompt="Once", max_tokens=5, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "fox: Once"


def test_several_prompts_of_text_or_of_tokens_are_answered_in_order(client: OpenAI) -> None:
    several: list[Any] = [["a", "b"], [[1, 2], [3]], [1, 2]]
    found = [
        [choice.text for choice in client.completions.create(model=BASE, prompt=prompt).choices]
        for prompt in several
    ]
    assert found == [["base: a", "base: b"], ["base:  t1 t2", "base:  t3"], ["base:  t1 t2"]]


@pytest.mark.parametrize("max_tokens", [0, 1])
def test_an_echoed_prompt_is_weighed(client: OpenAI, max_tokens: int) -> None:
    reply = client.completions.create(
        model="fox",
        prompt=["a bb ccc"],
        echo=True,
        max_tokens=max_tokens,
        logprobs=1,
        temperature=0,
    )
    choice = reply.choices[0]
    told: Any = choice.logprobs
    new = ["fox:"] * max_tokens
    assert choice.text == "a bb ccc" + "".join(new)
    assert told.tokens == ["a", " bb", " ccc", *new]
    assert told.token_logprobs[:3] == [None, -3.0, -4.0]
    assert told.text_offset[:3] == [0, 1, 4]
    assert told.top_logprobs[0] is None and told.top_logprobs[1] == {"w0": -1.0, " bb": -3.0}
    assert choice.finish_reason == "length"


def test_an_echoed_prompt_of_token_ids_is_weighed(client: OpenAI) -> None:
    prompt: Any = [[4, 5], [6]]
    reply = client.completions.create(
        model=BASE, prompt=prompt, echo=True, max_tokens=1, logprobs=1
    )
    told: list[Any] = [choice.logprobs for choice in reply.choices]
    assert [each.tokens for each in told] == [[" t4", " t5", "base:"], [" t6", "base:"]]
    assert [each.token_logprobs[0] for each in told] == [None, None]
    assert reply.choices[0].text == " t4 t5base:"


# Mistakes.


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 5}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"seed": 2**64}, "seed"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"tools": [WEATHER], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"extra_body": {"no_such": 1}}, "no_such"),
        ({"stream_options": {"no_such": 1}}, "stream_options.no_such"),
    ],
)
def test_what_would_change_the_reply_and_is_not_there_is_refused(
    client: OpenAI, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "hi", **options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user"}],
        [{"role": "robot", "content": "hi"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "user", "content": 5}],
        ["hi"],
        [{"role": "user", "content": "hi", "tool_calls": [{"function": {"name": "a"}}]}],
        [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": "["}}]}],
    ],
)
def test_messages_that_cannot_be_read_are_refused(client: OpenAI, messages: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=BASE, messages=messages)
    assert (caught.value.param or "").startswith("messages")


def test_text_in_parts_is_one_text(client: OpenAI, parrot: Parrot) -> None:
    parts: Any = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": parts}])
    assert parrot.requests[-1].messages[-1].content == "a b"


@pytest.mark.parametrize("model", ["nobody", "Fox", "ｆｏｘ", "fоx", "fox ", "../fox", "fox\x00"])
def test_an_unknown_model_is_not_found(client: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, "hi", model)
    assert caught.value.code == "model_not_found"


def test_what_the_engine_refuses_is_the_clients_mistake(client: OpenAI) -> None:
    for streams in (False, True):
        with pytest.raises(openai.BadRequestError, match="the model holds 4096"):
            ask(client, "TOO LONG", stream=streams)


def test_pages_and_methods_that_are_not_there_are_said_in_the_same_form(server: Running) -> None:
    with server.client() as client:
        answers = [client.get("/v1/no"), client.get("/v1/chat/completions"), client.get("/")]
    assert [answer.status_code for answer in answers] == [404, 405, 404]
    assert all(set(answer.json()["error"]) == {"message", "type", "param", "code"}
               for answer in answers)  # fmt: skip
