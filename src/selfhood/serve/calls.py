"""``<tool_call>{"name": ..., "arguments": {...}}</tool_call>`` in a reply -> calls, as it streams.

So write Qwen2.5, Qwen3, Hermes and others whose chat templates teach it. What looks like a call and
is none stays text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

from selfhood.chat import Call

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class CallReader:
    """Takes a reply piece by piece, gives back text and calls in order.

    After ``most`` calls whatever follows is dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = ""
        self._is_inside = False
        self.num_calls = 0

    def take(self, text: str) -> Iterator[str | Call]:
        self._held += text
        while (mark := self._mark()) in self._held:
            before, _, self._held = self._held.partition(mark)
            yield from self._part(before)
            self._is_inside = not self._is_inside
        if not self._is_inside:
            keep = _length_of_beginning(self._held, OPEN)
            shown, self._held = self._held[: len(self._held) - keep], self._held[-keep:][:keep]
            yield from self._part(shown)

    def end(self) -> Iterator[str | Call]:
        """What was held back; the end may stand for a closing mark that was not written."""
        held, self._held = self._held, ""
        if held or self._is_inside:
            yield from self._part(held)

    def _mark(self) -> str:
        return CLOSE if self._is_inside else OPEN

    def _part(self, text: str) -> Iterator[str | Call]:
        if self.num_calls >= self._most:
            return
        if not self._is_inside:
            # Line breaks between and behind calls belong to them.
            if text.strip() or (text and not self.num_calls):
                yield text
            return
        call = _read(text)
        if call is None:
            yield f"{OPEN}{text}{CLOSE}"
        else:
            self.num_calls += 1
            yield call


def _length_of_beginning(text: str, mark: str) -> int:
    """How many of the last characters may be the beginning of the mark."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)


def _read(text: str) -> Call | None:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(table, dict):
        return None
    name, arguments = table.get("name"), table.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        return None
    return Call(name, json.dumps(arguments, ensure_ascii=False), f"call_{uuid4().hex[:24]}")
