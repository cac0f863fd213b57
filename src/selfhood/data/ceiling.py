"""The most tokens that a row can have, without tokenising or even reading it.

A byte-level tokenizer makes at most one token of each UTF-8 byte, and a chat template writes each
message once, as it is, and adds the same to every conversation with the same roles. So

    tokens(row) <= bytes(its messages) + bytes(a probe with the same roles) + ALLOWANCE

Where the probe or the tokenizer shows that this is not so, the ceiling is infinite, and the row
has to be tokenised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from selfhood.chat import Conversation
from selfhood.data.render import Renderer, Tokenizer
from selfhood.data.rows import UNKNOWN, Rows, Shape

ALLOWANCE = 64
"""Bytes, for what a template may add where a text holds something special, such as thoughts."""
# A character that no template writes by itself, round others that an escape would make longer.
MARK = "\ue000"
PROBE = f'{MARK}"\\\n{MARK}'


@dataclass(frozen=True, slots=True)
class Ceiling:
    """``ceiling(number)`` is the most tokens of that row. Remembers what the template adds to a
    shape.

    Raises what rendering the row would raise for its roles.
    """

    rows: Rows
    renderer: Renderer
    _added: dict[Shape, float] = field(default_factory=dict)

    def __call__(self, number: int) -> float:
        shape, num_bytes, _ = self.rows.extent(number)
        added = self._added.get(shape)
        if added is None:
            added = self._added[shape] = self._added_to(self.rows[number])
        return added + num_bytes if num_bytes < UNKNOWN else math.inf

    def _added_to(self, row: Conversation) -> float:
        """Bytes that the template adds to a row of this shape, and a few more."""
        if not is_byte_level(self.renderer.tokenizer):
            return math.inf
        messages = tuple(replace(each, content=each.content and PROBE) for each in row.messages)
        segments = self.renderer.segments(replace(row, messages=messages))
        text = "".join(segment.text for segment in segments)
        if text.count(MARK) != 2 * text.count(PROBE) or text.count(PROBE) > len(messages):
            return math.inf
        return len(text.encode()) + ALLOWANCE


def is_byte_level(tokenizer: Tokenizer) -> bool:
    """Whether a token is at least one byte of the text in form NFC: GPT-2's way, and that of Qwen,
    Llama 3 and DeepSeek."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    normalizer = repr(getattr(core, "normalizer", None))
    decoder = type(getattr(core, "decoder", None)).__name__
    is_harmless = normalizer in ("None", "NFC()", "Sequence(normalizers=[])")
    return decoder == "ByteLevel" and is_harmless
