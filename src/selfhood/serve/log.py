"""What the server says on stderr. What clients say is in it with ``--verbose`` only."""

from __future__ import annotations

import json
import traceback
from typing import Any

from selfhood import console


class Log:
    """``is_verbose``: each request, with its text."""

    def __init__(self, *, is_verbose: bool = False) -> None:
        self._is_verbose = is_verbose

    def asked(self, route: str, table: dict[str, Any]) -> None:
        if self._is_verbose:
            console.say(f"asked    {route} {json.dumps(table, ensure_ascii=False)}")

    def answered(self, route: str, status: int, seconds: float) -> None:
        if self._is_verbose:
            console.say(f"answered {route} {status} {seconds:.2f} s")

    def failed(self, error: BaseException) -> None:
        """Where it went wrong. The message may hold a prompt, so it is kept back."""
        console.warn(f"a request failed: {type(error).__name__}")
        console.say("".join(traceback.format_tb(error.__traceback__)).rstrip())
        if self._is_verbose:
            console.say(str(error))

    def told(self, text: str) -> None:
        console.say(text)
