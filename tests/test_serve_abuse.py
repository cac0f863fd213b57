"""What a server is put through: it stays up, answers the others, and lets go of what is over."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from selfhood.engine.types import Sampling
from selfhood.serve import connection
from selfhood.serve.protocol import Terms
from tests.parrot import Parrot
from tests.serving import BASE, Running, served, wait_until
from tests.test_serve_openai import ask, client_of

LONG = Terms(defaults=Sampling(), most_tokens=1_000_000)


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"model": BASE, "messages": [{"role": "user", "content": text}], **options}


# Some 10 MB: more than two sockets hold.
MUCH = chat("FOREVER", max_tokens=4000, stream=True, logprobs=True, top_logprobs=20)


def raw(
    server: Running, table: dict[str, Any], path: str = "/v1/chat/completions"
) -> socket.socket:
    """A request as bytes on a socket of its own; nobody reads the answer yet."""
    body = json.dumps(table).encode()
    port = int(server.url.rpartition(":")[2])
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return line


# Bodies.


def asks(rest: str) -> bytes:
    """A good request with something more in it."""
    return json.dumps(chat("x"))[:-1].encode() + f", {rest}}}".encode()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"model": "tiny"', b"{}",
        b"[" * 100_000, b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
        asks('"temperature": NaN'), asks('"top_p": Infinity'), asks('"top_p": 1e999'),
        asks(f'"n": 1{"0" * 5000}'), asks('"seed": 1e3'), asks('"n": true'),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(shared: Running, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    with shared.client() as client:
        answer = client.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_is_bounded_whether_it_says_its_length_or_not() -> None:
    with served(Parrot(), most_bytes=2000) as server, server.client() as client:
        for content in (b"x" * 3000, iter([b"x" * 1000] * 3)):
            answer = client.post(
                "/v1/chat/completions",
                content=content,
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code == 413
        assert client.post("/v1/chat/completions", json=chat("hi")).status_code == 200


@pytest.fixture(scope="module")
def shared() -> Any:
    with served(Parrot()) as running:
        yield running


# Clients that leave, or do not listen.


def hang_up_midway(server: Running, parrot: Parrot, **options: Any) -> None:
    line = raw(server, chat("FOREVER", max_tokens=100_000, **options))
    wait_until(lambda: parrot.num_words > 3)
    line.close()


@pytest.mark.parametrize("streams", [True, False])
def test_a_client_that_hangs_up_frees_its_slot_within_a_token(streams: bool) -> None:
    parrot = Parrot(pause=0.05)
    with served(parrot, terms=LONG, most_running=1) as server:
        hang_up_midway(server, parrot, stream=streams)
        said = parrot.num_words
        wait_until(lambda: parrot.num_open == 0)
        assert parrot.num_words <= said + 2  # the one being said, and one that was on its way
        wait_until(lambda: server.service.admission.running == 0)
        with client_of(server.url) as client:
            assert ask(client, "hi").choices[0].message.content == "base: hi"
        assert "selfhood_disconnects_total 1.0" in server.service.metrics.text().decode()


def test_a_client_that_hangs_up_while_it_waits_in_line_is_forgotten() -> None:
    parrot = Parrot(pause=0.02)
    with served(parrot, terms=LONG, most_running=1) as server:
        first = raw(server, chat("FOREVER", max_tokens=100_000))
        wait_until(lambda: parrot.num_open == 1)
        second = raw(server, chat("hi"))
        wait_until(lambda: server.service.admission.waiting == 1)
        second.close()
        wait_until(lambda: server.service.admission.waiting == 0)
        first.close()
        wait_until(lambda: server.service.admission.running == 0)
    assert [request.messages[-1].content for request in parrot.requests] == ["FOREVER"]


def test_a_slow_reader_holds_up_nobody_and_keeps_no_slot() -> None:
    parrot = Parrot()
    with served(parrot, terms=LONG, most_running=1) as server:
        lazy = raw(server, MUCH)
        wait_until(lambda: parrot.num_words == 4000)
        assert server.server.server_state.tasks, "there is more to send than the system takes"
        wait_until(lambda: server.service.admission.running == 0)
        with client_of(server.url) as client:
            assert ask(client, "hi").choices[0].message.content == "base: hi"
        lazy.close()


def test_who_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNREAD_SECONDS", 0.2)
    with served(Parrot(), terms=LONG) as server:
        lazy = raw(server, MUCH)
        wait_until(lambda: not server.server.server_state.connections)
        lazy.close()


def test_who_never_finishes_its_headers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    with served(Parrot()) as server:
        port = int(server.url.rpartition(":")[2])
        for sent in (b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
                line.sendall(sent)
                with contextlib.suppress(ConnectionResetError):
                    assert line.recv(100) == b""


def test_who_never_finishes_its_body_is_told_that_it_took_too_long() -> None:
    with served(Parrot(), seconds=0.3) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            assert line.recv(1000).startswith(b"HTTP/1.1 504")


# Too many, too long.


def test_a_full_queue_sends_new_requests_away_and_says_when_to_come_back() -> None:
    parrot = Parrot(pause=0.02)
    with served(parrot, terms=LONG, most_running=1, most_waiting=1) as server:
        lines = [raw(server, chat("FOREVER", max_tokens=100_000)) for _ in range(2)]
        wait_until(lambda: server.service.admission.waiting == 1)
        with client_of(server.url) as client, pytest.raises(openai.RateLimitError) as caught:
            ask(client, "hi")
        assert caught.value.code == "queue_full"
        assert int(caught.value.response.headers["Retry-After"]) >= 1
        for line in lines:
            line.close()
        wait_until(lambda: server.service.admission.running == 0)


@pytest.mark.parametrize("streams", [True, False])
def test_a_request_ends_at_its_deadline(streams: bool) -> None:
    parrot = Parrot(pause=0.01)
    with served(parrot, terms=LONG, seconds=0.3) as server:
        with server.client() as client:
            table = chat("FOREVER", stream=streams, max_tokens=100_000)
            answer = client.post("/v1/chat/completions", json=table)
            *_, last = answer.text.strip().splitlines()
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
            assert answer.status_code == (200 if streams else 504)
        wait_until(lambda: parrot.num_open == 0)


def test_no_more_requests_are_computed_at_once_than_allowed() -> None:
    parrot = Parrot(pause=0.005)
    with (
        served(parrot, most_running=3, most_waiting=50) as server,
        client_of(server.url) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        replies = list(pool.map(lambda number: ask(client, f"q{number}"), range(20)))
    assert [reply.choices[0].message.content for reply in replies] == [
        f"base: q{number}" for number in range(20)
    ]
    assert parrot.most_open <= 3


def test_an_engine_that_breaks_is_said_and_the_next_request_is_answered(shared: Running) -> None:
    with client_of(shared.url) as client:
        for streams in (False, True):
            with pytest.raises(openai.InternalServerError) as caught:
                ask(client, "BREAK it", stream=streams)
            assert caught.value.status_code == 500
        assert ask(client, "hi").choices[0].message.content == "base: hi"


# The end.


def test_a_server_that_ends_answers_what_is_under_way_and_sends_others_away() -> None:
    parrot = Parrot(pause=0.02)
    with served(parrot) as server, server.client() as client, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(
            client.post, "/v1/chat/completions", json=chat("FOREVER", max_tokens=20)
        )
        wait_until(lambda: parrot.num_words > 2)
        server.drain()
        wait_until(lambda: server.service.admission.is_draining)
        sent_away = client.post("/v1/chat/completions", json=chat("hi"))
        assert (sent_away.status_code, sent_away.json()["error"]["code"]) == (503, "shutting_down")
        assert sent_away.headers["Retry-After"]
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        assert under_way.result().json()["usage"]["completion_tokens"] == 20
        wait_until(lambda: not server.server.server_state.connections)
    assert server.server.should_exit


# Many.


def memory() -> int:
    """Of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_thousand_mixed_requests_at_64_concurrent_keep_memory_flat() -> None:
    parrot = Parrot("fox", "owl")
    terms = Terms(defaults=Sampling(max_new_tokens=50))
    with served(parrot, terms=terms, most_running=16, most_waiting=100) as server:
        kinds = mixed(server)
        storm(server, kinds, 300)  # pools, caches and buffers grow to their size
        before, threads = memory(), threading.active_count()
        outcomes = storm(server, kinds, 1000)
        wait_until(lambda: server.service.admission.running == 0)
        assert memory() - before < 8 << 20
        wait_until(lambda: threading.active_count() <= threads)
        assert parrot.num_open == 0
        assert outcomes == {200: 600, 400: 200, 404: 100, -1: 100}


def mixed(server: Running) -> list[Callable[[httpx2.Client], int]]:
    """Good, bad and broken off."""

    def good(model: str, **options: Any) -> Callable[[httpx2.Client], int]:
        def post(client: httpx2.Client) -> int:
            table = {**chat("a b c d e", **options), "model": model}
            return client.post("/v1/chat/completions", json=table).status_code

        return post

    def broken_off(client: httpx2.Client) -> int:
        raw(server, chat("FOREVER", stream=True)).close()
        return -1

    return [
        good(BASE),
        good("fox"),
        good("owl", stream=True),
        good(BASE, n=3),
        good("fox", logprobs=True, stream=True),
        good("owl", max_tokens=2),
        good(BASE, temperature=9),
        good(BASE, tools="x"),
        good("nobody"),
        broken_off,
    ]


def storm(
    server: Running, kinds: list[Callable[[httpx2.Client], int]], total: int
) -> dict[int, int]:
    outcomes: dict[int, int] = {}
    limits = httpx2.Limits(max_connections=64)
    with server.client(limits=limits) as client, ThreadPoolExecutor(64) as pool:
        for status in pool.map(lambda number: kinds[number % len(kinds)](client), range(total)):
            outcomes[status] = outcomes.get(status, 0) + 1
    return outcomes


def test_metrics_count_without_telling_what_was_said() -> None:
    with served(Parrot("fox")) as server, server.client() as client:
        client.post("/v1/chat/completions", json={**chat("a secret"), "model": "fox"})
        client.post("/v1/chat/completions", json={**chat("x"), "model": "no\nbody"})
        client.get("/etc/passwd")
        time.sleep(0.05)
        text = client.get("/metrics").text
    assert 'selfhood_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'selfhood_requests_total{route="other",status="404"} 1.0' in text
    assert 'selfhood_tokens_total{kind="completion",model="fox"} 3.0' in text
    assert "selfhood_running_requests 0.0" in text and "process_resident_memory_bytes" in text
    assert "secret" not in text and "passwd" not in text and "body" not in text
