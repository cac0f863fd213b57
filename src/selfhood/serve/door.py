"""Who may come in: the key, and without one only this machine's own programs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from selfhood.serve.exposure import is_own_machine
from selfhood.serve.refusal import Refusal

OPEN_ROUTES = ("/health", "/ready")  # an orchestrator asks them, and they tell nothing

Headers = Sequence[tuple[bytes, bytes]]


class Door:
    """With a key: whoever brings it. Without: whoever calls this machine by its own name, so that
    no web page reaches the server through a name that it has made point here (DNS rebinding)."""

    def __init__(self, key: str | None) -> None:
        self._hash = None if key is None else _hash(key.encode())

    def check(self, path: str, headers: Headers) -> None:
        if path in OPEN_ROUTES:
            return
        if self._hash is not None:
            self._check_key(headers)
        else:
            _check_host(headers)

    def _check_key(self, headers: Headers) -> None:
        """In the same time whatever is wrong with it: hashes are of one length."""
        kind, _, key = _header(headers, b"authorization").partition(b" ")
        is_bearer = kind.lower() == b"bearer"
        is_key = hmac.compare_digest(_hash(key.strip()), self._hash or b"")
        if not (is_bearer and is_key):
            raise Refusal(
                401,
                "A key is missing." if not key else "The key is wrong.",
                code="invalid_api_key",
                kind="authentication_error",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _check_host(headers: Headers) -> None:
    host = _header(headers, b"host").decode("latin-1").rpartition("]")
    name = f"{host[0]}{host[1]}".strip("[]") or host[2].partition(":")[0]
    if not is_own_machine(name):
        raise Refusal(
            403, "Without a key this server is for its own machine.", code="host_not_allowed"
        )


def _header(headers: Headers, name: bytes) -> bytes:
    return next((value for key, value in headers if key.lower() == name), b"")


def _hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
