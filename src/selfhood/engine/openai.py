"""The engine behind a URL: chat completions, as OpenAI's protocol has them.

A batch is so many requests at once; the server decides how it computes them.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from urllib.parse import urlsplit

from selfhood.engine.types import Delta, Finish, Request
from selfhood.errors import FlagError, SelfhoodError

TIMEOUT_SECONDS = 600
PAUSES_SECONDS = (1, 4, 16)
BUSY = (429, 502, 503, 504)
OWN_MACHINE = ("localhost", "127.0.0.1", "::1")


class OpenAIEngine:
    """Answers with what a server calls ``model``. The key goes to that server and nowhere else."""

    def __init__(self, url: str, *, model: str, key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FlagError(
                f"{url!r} is no address", where="--url", hint="as in http://127.0.0.1:8000/v1"
            )
        self.url = f"{url.rstrip('/').removesuffix('/chat/completions')}/chat/completions"
        self.model = model
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        # A proxy of the environment's does not know this machine's own servers.
        proxies: dict[str, str] | None = {} if parts.hostname in OWN_MACHINE else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """One delta a reply, as the replies come in."""
        with ThreadPoolExecutor(max_workers=len(requests)) as pool:
            waiting = {
                pool.submit(self._complete, request): index
                for index, request in enumerate(requests)
            }
            try:
                for done in as_completed(waiting):
                    text, num_tokens, finish = done.result()
                    yield Delta(
                        index=waiting[done], text=text, num_tokens=num_tokens, finish=finish
                    )
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _complete(self, request: Request) -> tuple[str, int, Finish]:
        answer = self._post(_body(self.model, request))
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
            num_tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
        except (KeyError, IndexError, TypeError) as error:
            raise SelfhoodError(
                "answers, but not as a chat completion", where=self.url, hint="check --url"
            ) from error
        return text, num_tokens, "length" if choice.get("finish_reason") == "length" else "stop"

    def _post(self, body: dict[str, Any]) -> Any:
        """The server's answer; one that is busy is asked again."""
        data, pauses = json.dumps(body).encode(), iter(PAUSES_SECONDS)
        while True:
            asked = urllib.request.Request(self.url, data=data, headers=self._headers)
            try:
                with self._opener.open(asked, timeout=TIMEOUT_SECONDS) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                pause = next(pauses, None)
                if error.code not in BUSY or pause is None:
                    raise self._refused(error) from error
            except (OSError, ValueError) as error:
                reason = getattr(error, "reason", error)
                raise SelfhoodError(
                    f"cannot be reached: {reason}", where=self.url, hint="is the server up?"
                ) from error
            time.sleep(pause)

    def _refused(self, error: urllib.error.HTTPError) -> SelfhoodError:
        hints = {
            401: "give the key in SELFHOOD_API_KEY",
            403: "give the key in SELFHOOD_API_KEY",
            404: f"check --url, and that the server knows the model {self.model}",
        }
        said = error.read(300).decode("utf-8", errors="replace").strip()
        what = f"answers {error.code} {error.reason}"
        return SelfhoodError(
            f"{what}: {said}" if said else what, where=self.url, hint=hints.get(error.code)
        )


def _body(model: str, request: Request) -> dict[str, Any]:
    """An empty system line is one that nobody wrote."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": message.role, "content": message.content}
            for message in request.messages
            if message.content or message.role != "system"
        ],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
    }
    return {**body, "stop": list(sampling.stop)} if sampling.stop else body
