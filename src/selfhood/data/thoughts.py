"""What a thinking model writes before its reply: ``<think> ... </think>``.

Such a model replies at once where an empty block of thoughts has been written for it, as Qwen3's
chat template does when ``enable_thinking`` is false. That block is part of the prompt: it is never
trained, and no reply holds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

START, END = "<think>", "</think>"
_BLOCK = re.compile(rf"{START}.*?{END}\n*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A reply apart from its thoughts, either of which may be empty."""

    thoughts: str
    reply: str


def spoken(text: str) -> Spoken:
    """What the model thought, and what it then said. One that was cut while it thought has said
    nothing; a template may have written the opening mark already."""
    thoughts, end, reply = text.rpartition(END)
    if not end and START in text:
        thoughts, reply = text, ""
    return Spoken(thoughts=thoughts.replace(START, "").strip(), reply=reply.lstrip("\n"))


def without_thoughts(text: str) -> str:
    """A talk as a template shows its earlier turns."""
    return _BLOCK.sub("", text)
