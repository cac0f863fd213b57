"""Tokens as they are drawn -> the text that may be shown so far."""

from __future__ import annotations

from typing import Any

HALF_A_CHARACTER = "\ufffd"  # how a tokenizer decodes one whose last token is still to come
WINDOW = 16  # tokens that are decoded again with each new one


class Speech:
    """The text of one reply. Half characters are held back, and what may begin a stop string."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...]) -> None:
        self.ids: list[int] = []
        self.is_stopped = False
        self._tokenizer = tokenizer
        self._stop = tuple(word for word in stop if word)
        self._settled = ""  # text that no later token changes
        self._window = 0  # the first token that is decoded again
        self._skip = 0  # characters of the window that are settled
        self._shown = 0

    def take(self, token: int) -> str:
        """The text that this token lets out; a stop string ends the speech."""
        self.ids.append(token)
        text = self._text()
        at = min((at for word in self._stop if (at := text.find(word)) >= 0), default=-1)
        if at >= 0:
            self.is_stopped = True
            return self._show(text[:at])
        return self._show(text[: len(text) - _held_back(text, self._stop)])

    def end(self, *, is_cut: bool) -> str:
        """What was held back. A reply that was cut short keeps no half character."""
        text = self._text()
        return self._show(text.rstrip(HALF_A_CHARACTER) if is_cut else text)

    def _show(self, text: str) -> str:
        piece, self._shown = text[self._shown :], max(len(text), self._shown)
        return piece

    def _text(self) -> str:
        """All of it. Only the last tokens are decoded, those before them once and for all: the
        text between two places is what the window has gained, since some tokenizers write a word
        another way at the beginning of a text."""
        window = self._decode(self._window)
        text = self._settled + window[self._skip :]
        if len(self.ids) - self._window >= 2 * WINDOW and not window.endswith(HALF_A_CHARACTER):
            self._settled = text
            self._window = len(self.ids) - WINDOW
            self._skip = len(self._decode(self._window))
        return text

    def _decode(self, start: int) -> str:
        return str(self._tokenizer.decode(self.ids[start:], skip_special_tokens=True))


def _held_back(text: str, stop: tuple[str, ...]) -> int:
    """How many characters at the end may not be shown yet: an incomplete one, and before it what
    may turn out to be the start of a stop string."""
    whole = text.rstrip(HALF_A_CHARACTER)
    starts = (
        size
        for word in stop
        for size in range(min(len(word), len(whole)), 0, -1)
        if whole.endswith(word[:size])
    )
    return len(text) - len(whole) + max(starts, default=0)
