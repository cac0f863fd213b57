"""A server with OpenAI's protocol answers like any engine, and its troubles are one line."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from selfhood.chat import Message
from selfhood.cli.main import main
from selfhood.engine import wire
from selfhood.engine.openai import OpenAIEngine
from selfhood.engine.types import Chance, Passage, Request, Sampling, fold
from selfhood.errors import FlagError, InputError, SelfhoodError

KEY = "key-of-nobody"


class Server(ThreadingHTTPServer):
    """Answers with the question; ``failures`` are sent before."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.failures: list[int] = []
        self.body: bytes | None = None
        self.events: list[Any] | None = None
        self.left = threading.Event()

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
        text = asked["messages"][-1]["content"] if "messages" in asked else ""
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        answer = {"choices": [choice], "usage": {"completion_tokens": 3}}
        body = json.dumps(answer).encode() if self.server.body is None else self.server.body
        if self.server.events is not None:
            self.send_events(self.server.events)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_events(self, events: list[Any]) -> None:
        """As OpenAI streams: an event a piece, the last of them endless where it is None."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.end_headers()
        for event in events:
            if event is None:
                self.wait_until_left()
                return
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def wait_until_left(self) -> None:
        self.connection.settimeout(5)
        if self.connection.recv(1) == b"":
            self.server.left.set()

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


def piece(text: str | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish, **more}]}


USAGE = {"choices": [], "usage": {"completion_tokens": 5, "prompt_tokens": 9}}


def test_a_reply_comes_word_by_word_and_is_counted_at_its_end(server: Server) -> None:
    chance = {"token": "I", "logprob": -0.5, "top_logprobs": [{"token": "I", "logprob": -0.5}]}
    first = piece("I", logprobs={"content": [chance]})
    server.events = [piece(None), first, piece(" am"), piece("", "length"), USAGE]
    engine = OpenAIEngine(server.url, model="kitsu", system="You are Kitsu.")
    sampling = Sampling(num_logprobs=1, stop=("x",), form="json", top_k=3)
    (request, *_) = requests("1")
    pieces = list(
        engine.stream([replace(request, messages=request.messages[1:], sampling=sampling)])
    )
    assert [each.text for each in pieces] == ["I", " am", ""]
    (reply,) = fold(iter(pieces), 1)
    assert (reply.num_tokens, reply.num_prompt_tokens, reply.finish) == (5, 9, "length")
    assert reply.chances == (Chance(token="I", logprob=-0.5, others=(("I", -0.5),)),)
    seen = server.seen[0]
    assert seen["messages"][0] == {"role": "system", "content": "You are Kitsu."}
    assert (seen["stream"], seen["stop"], seen["top_k"]) == (True, ["x"], 3)
    assert (seen["top_logprobs"], seen["response_format"]) == (1, {"type": "json_object"})


def test_who_closes_the_stream_hangs_up(server: Server) -> None:
    server.events = [piece("I"), None]
    stream = OpenAIEngine(server.url, model="kitsu").stream(requests("1"))
    assert next(stream).text == "I"
    stream.close()  # type: ignore[attr-defined]
    assert server.left.wait(5)


def test_a_reply_that_breaks_off_is_an_error(server: Server) -> None:
    server.events = [piece("I"), {"error": {"message": "out of memory"}}]
    with pytest.raises(SelfhoodError, match="broke off: out of memory"):
        fold(OpenAIEngine(server.url, model="kitsu").stream(requests("1")), 1)


def test_an_adapter_is_a_model_of_the_servers_and_text_is_gone_on_from(server: Server) -> None:
    server.body = json.dumps({"choices": [{"text": "b", "finish_reason": "stop"}]}).encode()
    (request,) = requests("1")
    request = replace(request, adapter="owl", text="a")
    (reply,) = fold(OpenAIEngine(server.url, model="kitsu").stream([request]), 1)
    assert reply.text == "b"
    assert (server.seen[0]["path"], server.seen[0]["model"]) == ("/v1/completions", "owl")


def test_what_only_the_servers_owner_can_do_is_one_line(server: Server, tmp_path: Path) -> None:
    engine = OpenAIEngine(server.url, model="kitsu")
    with pytest.raises(InputError, match="the server's own"):
        engine.add_speaker("owl", tmp_path)
    with pytest.raises(InputError, match="does not weigh"):
        engine.score([Passage(prompt="a", text="b")])


def test_infer_asks_it(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SELFHOOD_API_KEY", KEY)
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\nquit\n"))
    words = ["infer", "--infer_backend", "openai", "--url", server.url, "--model", "kitsu"]
    assert main(words) == 0
    out, said = capsys.readouterr()
    assert (out, server.keys) == ("hello\n", [f"Bearer {KEY}"])
    assert f"server   {server.url}" in said and KEY not in said


def test_infer_without_an_address_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", "--infer_backend", "openai", "--model", "kitsu"]) == 2
    assert "--url: is missing" in capsys.readouterr().err


def test_the_key_is_sent_and_never_said(server: Server) -> None:
    server.failures = [401]
    with pytest.raises(SelfhoodError) as caught:
        fold(OpenAIEngine(server.url, model="kitsu", key=KEY).stream(requests("1")), 1)
    assert server.keys == [f"Bearer {KEY}"]
    assert "answers 401" in str(caught.value) and KEY not in str(caught.value)


def test_a_server_that_is_busy_is_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PAUSES_SECONDS", (0, 0))
    server.failures = [503, 429]
    (reply,) = fold(OpenAIEngine(server.url, model="kitsu").stream(requests("1")), 1)
    assert (reply.text, len(server.seen)) == ("1", 3)


def test_a_server_that_stays_busy_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "PAUSES_SECONDS", (0,))
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
