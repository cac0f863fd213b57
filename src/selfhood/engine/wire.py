"""HTTP to one server: a JSON answer, or events as they come (server-sent, as OpenAI streams).

A request is one connection. Whoever waits for one can be called off by another thread: ``Hangup``
closes its socket, and the server sees that nobody listens any more.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from selfhood.errors import FlagError, InputError, SelfhoodError

TIMEOUT_SECONDS = 600
PAUSES_SECONDS = (1, 4, 16)
BUSY = (429, 502, 503, 504)
OWN_MACHINE = ("localhost", "127.0.0.1", "::1")
EVENTS = "text/event-stream"
FIELD, END = b"data:", b"[DONE]"

_Answer = http.client.HTTPResponse


class Hangup:
    """The connections that belong together, and the end of all of them."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, unless it is over before."""
        self._over.wait(seconds)

    def watch(self, line: socket.socket) -> None:
        with self._lock:
            self._open.add(line)
            if self.is_over:
                _shut(line)

    def now(self) -> None:
        with self._lock:
            self._over.set()
            for line in self._open:
                _shut(line)
            self._open.clear()


def _shut(line: socket.socket) -> None:
    """Unlike ``close`` it wakes a thread that reads; one that is closed already raises."""
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


class _Plain(http.client.HTTPConnection):
    def __init__(self, hangup: Hangup, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hangup = hangup

    def connect(self) -> None:
        super().connect()
        self._hangup.watch(self.sock)


class _Secure(http.client.HTTPSConnection):
    def __init__(self, hangup: Hangup, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hangup = hangup

    def connect(self) -> None:
        super().connect()
        self._hangup.watch(self.sock)


class _PlainHandler(urllib.request.HTTPHandler):
    def __init__(self, hangup: Hangup) -> None:
        super().__init__()
        self._connection = partial(_Plain, hangup)

    def http_open(self, req: urllib.request.Request) -> _Answer:
        return self.do_open(self._connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, hangup: Hangup) -> None:
        super().__init__()
        self._connection = partial(_Secure, hangup)

    def https_open(self, req: urllib.request.Request) -> _Answer:
        return self.do_open(self._connection, req)


class Wire:
    """One server under ``url``, below which its paths lie. The key goes there and nowhere else."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FlagError(
                f"{url!r} is no address", where="--url", hint="as in http://127.0.0.1:8000/v1"
            )
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        # A proxy of the environment's does not know this machine's own servers.
        self._proxies: dict[str, str] | None = {} if parts.hostname in OWN_MACHINE else None

    def get(self, path: str) -> Any:
        with self._open(path, None, Hangup()) as answer:
            return self._json(answer)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        with self._open(path, body, Hangup()) as answer:
            return self._json(answer)

    def events(self, path: str, body: Mapping[str, Any], hangup: Hangup) -> Iterator[Any]:
        """The answer's pieces as they come; one that comes whole is the only piece.

        Ends early, without an error, once ``hangup`` is over.
        """
        try:
            with self._open(path, body, hangup) as answer:
                if answer.headers.get_content_type() != EVENTS:
                    yield self._json(answer)
                    return
                for line in answer:
                    if line.startswith(FIELD) and line[len(FIELD) :].strip() != END:
                        yield self._event(line[len(FIELD) :])
        except (SelfhoodError, OSError, http.client.HTTPException, ValueError) as error:
            if hangup.is_over:
                return
            if isinstance(error, SelfhoodError):
                raise
            raise self._broken(error) from error

    def is_up(self, path: str) -> bool:
        """Whether it answers at once, and well."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        asked = urllib.request.Request(f"{self.url}{path}", headers=self._headers)
        try:
            with opener.open(asked, timeout=2):
                return True
        except (OSError, http.client.HTTPException):
            return False

    def _open(self, path: str, body: Mapping[str, Any] | None, hangup: Hangup) -> _Answer:
        """The server's answer, not yet read; a server that is busy is asked again."""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}{path}", data=data, headers=self._headers)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler(self._proxies),
            _PlainHandler(hangup),
            _SecureHandler(hangup),
        )
        pauses = iter(PAUSES_SECONDS)
        while True:
            try:
                answer: _Answer = opener.open(asked, timeout=TIMEOUT_SECONDS)
                return answer
            except urllib.error.HTTPError as error:
                pause = next(pauses, None)
                if error.code not in BUSY or pause is None or hangup.is_over:
                    raise self._refused(error) from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                reason = getattr(error, "reason", error)
                raise SelfhoodError(
                    f"cannot be reached: {reason}", where=self.url, hint="is the server up?"
                ) from error
            hangup.wait(pause)

    def _json(self, answer: _Answer) -> Any:
        try:
            return json.load(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(error) from error

    def _event(self, line: bytes) -> Any:
        event = json.loads(line)
        if isinstance(event, dict) and event.get("error"):
            raise SelfhoodError(f"broke off: {_said(event)}", where=self.url)
        return event

    def _broken(self, error: Exception) -> SelfhoodError:
        return SelfhoodError(f"its answer cannot be read: {error}", where=self.url)

    def _refused(self, error: urllib.error.HTTPError) -> SelfhoodError:
        hints = {
            401: "give the key in SELFHOOD_API_KEY",
            403: "give the key in SELFHOOD_API_KEY",
            404: "check --url, and that the server knows the model",
        }
        with contextlib.closing(error):
            said = _said(error.read(2000).decode("utf-8", errors="replace").strip())
        what = f"answers {error.code} {error.reason}"
        kind = InputError if error.code in (400, 413, 422) else SelfhoodError
        return kind(f"{what}: {said}" if said else what, where=self.url, hint=hints.get(error.code))


def _said(answer: Any) -> str:
    """What an error says for itself: OpenAI's ``error.message``, or as much as fits in a line."""
    with contextlib.suppress(ValueError, TypeError):
        answer = json.loads(answer)
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:300]
