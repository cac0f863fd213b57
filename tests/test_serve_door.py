"""Who comes in: with a key, or from this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator

import openai
import pytest

from selfhood.errors import FlagError
from selfhood.serve.exposure import check_exposure, is_own_machine
from selfhood.serve.log import Log
from tests.parrot import Parrot
from tests.serving import BASE, Running, served
from tests.test_serve_openai import ask, client_of

KEY = "a key for tests"
HI = {"model": BASE, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with served(Parrot(), key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def unlocked() -> Iterator[Running]:
    with served(Parrot()) as running:
        yield running


def test_who_brings_the_key_is_answered(locked: Running) -> None:
    with client_of(locked.url, key=KEY) as client:
        assert ask(client, "hi").choices[0].message.content == "base: hi"


@pytest.mark.parametrize("key", ["wrong", KEY + "x", KEY[:-1], KEY.upper(), "\x7f"])
def test_a_wrong_key_is_an_error_that_the_client_knows(locked: Running, key: str) -> None:
    with (
        client_of(locked.url, key=key) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        ask(client, "hi")
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic " + KEY, KEY, "Bearer é"])
def test_without_the_key_nothing_is_told(locked: Running, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode()}
    with locked.client() as client:
        for path in ("/v1/models", "/metrics", "/v1/chat/completions", "/no/such"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert client.post("/v1/unload_lora_adapter", json={"lora_name": "x"}).status_code == 401


def test_an_orchestrator_needs_no_key_to_see_that_it_lives(locked: Running) -> None:
    with locked.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[fe80::1]:80"])
def test_a_web_page_cannot_come_in_under_a_name_of_its_own(unlocked: Running, host: str) -> None:
    with unlocked.client() as client:
        answer = client.post("/v1/chat/completions", json=HI, headers={"Host": host})
    assert answer.status_code in (400, 403)  # 400: no host at all is no HTTP


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"]
)
def test_this_machine_goes_by_all_its_names(unlocked: Running, host: str) -> None:
    with unlocked.client() as client:
        answer = client.post("/v1/chat/completions", json=HI, headers={"Host": host})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_a_form_of_a_web_page_is_not_taken(unlocked: Running) -> None:
    """A page may post one anywhere without asking; JSON it may not."""
    with unlocked.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            answer = client.post(
                "/v1/chat/completions", content=json.dumps(HI), headers={"Content-Type": kind}
            )
            assert answer.status_code == 415


def test_an_address_that_others_reach_needs_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org", ""):
        assert not is_own_machine(host)
        check_exposure(host, KEY)
        with pytest.raises(FlagError, match="can be reached from elsewhere; give a key"):
            check_exposure(host, None)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_exposure(host, None)


def test_neither_prompts_nor_keys_are_logged(capfd: pytest.CaptureFixture[str]) -> None:
    with served(Parrot(), key=KEY) as server, client_of(server.url, key=KEY) as client:
        ask(client, "a secret of mine")
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, "BREAK secret")
        assert "secret" not in str(caught.value)
    said = "".join(capfd.readouterr())
    assert "RuntimeError" in said, "the failure itself is"
    assert "secret" not in said and KEY not in said


def test_verbose_logs_what_was_asked(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        served(Parrot(), key=KEY, log=Log(is_verbose=True)) as server,
        client_of(server.url, key=KEY) as client,
    ):
        ask(client, "老实说")
    said = "".join(capfd.readouterr())
    assert "老实说" in said and "200" in said and KEY not in said
