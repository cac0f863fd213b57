"""The server on the engine itself: tiny models, many clients, one batch."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import torch
from openai import OpenAI

from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Sampling
from selfhood.model.adapters import attach, load_adapter, save_weights, trainable
from selfhood.recipe import TunerOptions
from selfhood.serve.protocol import Terms
from tests.serving import BASE, Running, served, wait_until
from tests.test_engine import engine_of
from tests.test_serve_abuse import chat, memory, mixed, raw, storm
from tests.test_serve_openai import WEATHER, ask, client_of
from tests.tiny import tiny_network, tiny_tokenizer

NAMES = ("fox", "owl", "hare")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters that say different things."""
    root = tmp_path_factory.mktemp("root")
    for number, name in enumerate(NAMES, start=1):
        tuned = attach(tiny_network(), TunerOptions(), base="tiny", seed=number)
        torch.manual_seed(number)
        with torch.no_grad():
            for _, weight in trainable(tuned):
                weight.copy_(torch.randn(weight.shape))
        save_weights(tuned, tiny_tokenizer(), root / name)
    return root


@pytest.fixture(scope="module")
def engine(root: Path) -> NativeEngine:
    model: Any = tiny_network()
    for name in ("fox", "owl"):
        model = load_adapter(model, root / name, name=name)
    return engine_of(model)


@pytest.fixture(scope="module")
def server(engine: NativeEngine, root: Path) -> Iterator[Running]:
    terms = Terms(defaults=Sampling(max_new_tokens=24))
    with served(engine, root=root, terms=terms) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[OpenAI]:
    with client_of(server.url) as client:
        yield client


def said(client: OpenAI, question: str, model: str, **options: Any) -> str:
    reply = ask(client, question, model, **{"temperature": 0, "max_tokens": 16, **options})
    text: str = reply.choices[0].message.content
    return text


def test_many_clients_at_once_get_what_each_would_get_alone(client: OpenAI) -> None:
    asked = [(f"Question {number}", (BASE, "fox", "owl")[number % 3]) for number in range(12)]
    alone = [said(client, *each) for each in asked]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda each: said(client, *each), asked)) == alone
    assert len({said(client, "Hi", name) for name in (BASE, "fox", "owl")}) == 3


def test_a_streamed_reply_is_the_whole_one(client: OpenAI) -> None:
    stream = ask(client, "Hi", "fox", temperature=0, max_tokens=16, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == said(client, "Hi", "fox")


def test_the_same_seed_says_the_same_and_choices_differ(client: OpenAI) -> None:
    drawn = {"temperature": 1.5, "seed": 3}
    assert said(client, "Hi", "fox", **drawn) == said(client, "Hi", "fox", **drawn)
    reply = ask(client, "Hi", "fox", n=3, max_tokens=16, **drawn)
    assert len({choice.message.content for choice in reply.choices}) == 3


def test_log_probabilities_are_those_of_the_tokens(client: OpenAI) -> None:
    choice = ask(client, "Hi", "fox", temperature=0, max_tokens=8, logprobs=True, top_logprobs=3)
    told = choice.choices[0].logprobs.content
    assert len(told) == choice.usage.completion_tokens
    assert all(each.logprob == each.top_logprobs[0].logprob <= 0 for each in told), "greedy"
    assert all(len(each.top_logprobs) == 3 for each in told)


@pytest.mark.parametrize("prompt", ["The fox", [84, 104, 101]])
def test_an_echoed_prompt_is_weighed_as_the_model_finds_it(client: OpenAI, prompt: Any) -> None:
    """As lm-evaluation-harness asks: the log-probabilities of a text that is given."""
    reply: Any = client.completions.create(
        model="owl", prompt=prompt, echo=True, max_tokens=1, logprobs=2, temperature=0, seed=1234
    )
    told = reply.choices[0].logprobs
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(prompt) + 1
    assert told.token_logprobs[0] is None
    assert all(value < 0 for value in told.token_logprobs[1:])
    if isinstance(prompt, str):
        assert "".join(told.tokens[:-1]) == prompt


def test_json_is_json(client: OpenAI) -> None:
    form: Any = {"type": "json_object"}
    for seed in range(3):
        text = said(
            client, "Hi", "fox", response_format=form, max_tokens=60, temperature=1, seed=seed
        )
        if text.endswith("}"):
            assert isinstance(json.loads(text), dict)
        assert text.lstrip().startswith("{")


def test_tools_reach_the_chat_template(client: OpenAI) -> None:
    plain = ask(client, "Hi", "fox", max_tokens=1)
    shown = ask(client, "Hi", "fox", max_tokens=1, tools=[WEATHER])
    assert shown.usage.prompt_tokens > plain.usage.prompt_tokens + 50


def test_a_prompt_that_does_not_fit_is_refused_and_hurts_nobody(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="the model holds 4096"):
        said(client, "x" * 5000, "fox")
    assert said(client, "Hi", "fox")


@pytest.mark.parametrize("ids", [[2**31 - 1], [259], [1, 2, 300]])
def test_tokens_that_no_model_knows_are_refused_and_hurt_nobody(
    client: OpenAI, server: Running, ids: list[int]
) -> None:
    line = raw(server, chat("Hi", max_tokens=60, stream=True))
    for echo in (False, True):
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model="fox", prompt=ids, echo=echo, logprobs=1, max_tokens=1)
    line.settimeout(10)
    answer = b""
    while b"[DONE]" not in answer:
        piece = line.recv(65536)
        assert piece, "a neighbour's reply broke off"
        answer += piece
    line.close()
    assert b'"error"' not in answer


def test_a_client_that_hangs_up_makes_room_in_the_batch(server: Running, client: OpenAI) -> None:
    lines = [raw(server, chat("Hi", max_tokens=3000, temperature=0)) for _ in range(16)]
    wait_until(lambda: server.service.admission.running == 16)
    time.sleep(0.1)
    for line in lines:
        line.shutdown(socket.SHUT_RDWR)
        line.close()
    wait_until(lambda: server.service.admission.running == 0)
    assert said(client, "Hi", "fox")


def test_adapters_come_and_go_while_others_answer(server: Running, client: OpenAI) -> None:
    before = said(client, "Hi", "fox")
    with server.client() as other, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(said, client, "Hi", "fox", max_tokens=16) for _ in range(8)]
        for _ in range(2):
            assert load(other, "hare").status_code == 200
            assert said(client, "Hi", "hare") != before
            assert unload(other, "hare").status_code == 200
        assert {answer.result() for answer in answers} == {before}
    with pytest.raises(openai.NotFoundError):
        said(client, "Hi", "hare")


def load(client: httpx2.Client, name: str) -> httpx2.Response:
    return client.post("/v1/load_lora_adapter", json={"lora_name": name})


def unload(client: httpx2.Client, name: str) -> httpx2.Response:
    return client.post("/v1/unload_lora_adapter", json={"lora_name": name})


def test_a_passage_that_does_not_fit_is_refused(client: OpenAI) -> None:
    for echoed in ("x" * 5000, [1] * 5000):
        prompt: Any = echoed
        with pytest.raises(openai.BadRequestError, match="the model holds 4096"):
            client.completions.create(
                model="fox", prompt=prompt, echo=True, logprobs=0, max_tokens=0
            )


@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e-5])
def test_the_lowest_temperatures_are_greedy(client: OpenAI, temperature: float) -> None:
    assert said(client, "Hi", "fox", temperature=temperature) == said(client, "Hi", "fox")


@pytest.mark.slow
def test_a_thousand_mixed_requests_at_64_concurrent_keep_memory_flat(
    engine: NativeEngine, server: Running
) -> None:
    with served(engine, terms=server.service.terms, most_waiting=100) as crowded:
        kinds = mixed(crowded)
        storm(crowded, kinds, 300)
        before = memory()
        outcomes = storm(crowded, kinds, 1000)
        wait_until(lambda: crowded.service.admission.running == 0)
    assert memory() - before < 32 << 20
    assert outcomes == {200: 600, 400: 200, 404: 100, -1: 100}
