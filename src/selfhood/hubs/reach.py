"""Is a server there? Answered within seconds, where a hub client would retry for minutes."""

from __future__ import annotations

import http.client
import ssl
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

SECONDS = 3.0
# What a proxy, or a hub that is down, says for "not there".
DOWN = (502, 503, 504)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def why_unreachable(endpoint: str) -> str | None:
    """None if the server answers, no matter what; proxies of the environment are used."""
    answer: list[str | None] = [f"no answer within {SECONDS:g} s"]

    def ask() -> None:
        answer[0] = _ask(endpoint)

    # A thread of its own: a name server that does not answer blocks beyond any socket time-out.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS + 0.5)
    return answer[0]


def _ask(endpoint: str) -> str | None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"'{endpoint}' is not a web address"
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        opener.open(request, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answers {error.code}" if error.code in DOWN else None
    except urllib.error.URLError as error:
        # Someone is there; whether its certificate is good is for the client to judge, by its own
        # list of authorities.
        return None if isinstance(error.reason, ssl.SSLError) else _text(error.reason)
    except (OSError, http.client.HTTPException) as error:
        return _text(error)
    return None


def _text(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror[0].lower() + reason.strerror[1:]
    return str(reason)
