"""A server with OpenAI's protocol answers like any engine, and its troubles are one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from selfhood.chat import Message
from selfhood.engine import openai
from selfhood.engine.openai import OpenAIEngine
from selfhood.engine.types import Request, Sampling, fold
from selfhood.errors import FlagError, SelfhoodError

KEY = "key-of-nobody"


class Server(ThreadingHTTPServer):
    """Answers with the question; ``failures`` are sent before."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.failures: list[int] = []
        self.body: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, **asked})
        self.server.keys.append(self.headers.get("Authorization"))
        status = self.server.failures.pop(0) if self.server.failures else 200
        text = asked["messages"][-1]["content"]
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        answer = {"choices": [choice], "usage": {"completion_tokens": 3}}
        body = json.dumps(answer).encode() if self.server.body is None else self.server.body
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def requests(*questions: str) -> list[Request]:
    sampling = Sampling(max_new_tokens=7, seed=5)
    return [
        Request(messages=(Message("system", ""), Message("user", question)), sampling=sampling)
        for question in questions
    ]


def test_many_questions_are_asked_at_once_and_answered_in_order(server: Server) -> None:
    asked = requests("1", "2", "3")
    replies = fold(OpenAIEngine(server.url, model="kitsu").stream(asked), 3)
    assert [(reply.text, reply.num_tokens, reply.finish) for reply in replies] == [
        ("1", 3, "stop"), ("2", 3, "stop"), ("3", 3, "stop"),
    ]  # fmt: skip
    seen = server.seen[0]
    assert (seen["path"], seen["model"]) == ("/v1/chat/completions", "kitsu")
    assert (seen["max_tokens"], seen["temperature"], seen["seed"]) == (7, 0.0, 5)
    assert [message["role"] for message in seen["messages"]] == ["user"], "nobody wrote a line"


def test_the_key_is_sent_and_never_said(server: Server) -> None:
    server.failures = [401]
    with pytest.raises(SelfhoodError) as caught:
        fold(OpenAIEngine(server.url, model="kitsu", key=KEY).stream(requests("1")), 1)
    assert server.keys == [f"Bearer {KEY}"]
    assert "answers 401" in str(caught.value) and KEY not in str(caught.value)


def test_a_server_that_is_busy_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "PAUSES_SECONDS", (0, 0))
    server.failures = [503, 429]
    (reply,) = fold(OpenAIEngine(server.url, model="kitsu").stream(requests("1")), 1)
    assert (reply.text, len(server.seen)) == ("1", 3)


def test_a_server_that_stays_busy_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "PAUSES_SECONDS", (0,))
    server.failures = [503, 503]
    with pytest.raises(SelfhoodError, match="answers 503"):
        fold(OpenAIEngine(server.url, model="kitsu").stream(requests("1")), 1)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": []}', b"null"])
def test_an_answer_of_another_kind_is_an_error(server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(SelfhoodError):
        fold(OpenAIEngine(server.url, model="kitsu").stream(requests("1")), 1)


def test_a_server_that_is_not_there_is_one_line() -> None:
    engine = OpenAIEngine("http://127.0.0.1:9/v1", model="kitsu")
    with pytest.raises(SelfhoodError, match="cannot be reached"):
        fold(engine.stream(requests("1")), 1)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host/v1", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(FlagError, match="no address"):
        OpenAIEngine(url, model="kitsu")
