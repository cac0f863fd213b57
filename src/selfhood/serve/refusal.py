"""What a client is told when it does not get what it asked for, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INVALID = "invalid_request_error"


class Refusal(Exception):
    """An HTTP status and its reason. ``param`` is the part of the request that is at fault,
    ``code`` what a program may look at, ``headers`` go with the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def invalid(message: str, param: str | None = None) -> Refusal:
    """The request itself is at fault."""
    return Refusal(400, message, param=param)


def busy(message: str, *, seconds: int, code: str, status: int) -> Refusal:
    """Not now: try again in so many seconds."""
    headers = {"Retry-After": str(seconds)}
    return Refusal(status, message, code=code, kind="overloaded_error", headers=headers)


def internal() -> Refusal:
    """Our mistake. What it was stands in the log; it may hold what a client said."""
    return Refusal(500, "The server failed to answer.", code="internal", kind="server_error")


def too_slow() -> Refusal:
    """OpenAI's client would ask again, and wait as long again."""
    return Refusal(
        504,
        "The request took longer than this server allows.",
        code="deadline_exceeded",
        kind="timeout_error",
        headers={"x-should-retry": "false"},
    )
