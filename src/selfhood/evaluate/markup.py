"""HTML by functions: what is not markup already is escaped, so that nobody can forget it.

    tag("td", reply, class_="reply")   ->   <td class="reply">&lt;script&gt;...</td>

A model's reply is hostile: it may hold tags, control characters, and marks that turn the direction
of everything after them.
"""

from __future__ import annotations

import html
import re

# Not allowed in HTML at all; and the marks that embed, override or isolate a direction.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_EMPTY = ("meta", "link", "path", "rect", "line", "circle")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Piece = str | Markup


def tag(name: str, /, *children: Piece, **attributes: str | float | bool | None) -> Markup:
    """An element. ``class_`` is written class, ``data_lang`` data-lang; True is an attribute alone,
    None and False are none."""
    opening = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}"
    if name in _EMPTY:
        return Markup(f"{opening}/>")
    return Markup(f"{opening}>{join(*children)}</{name}>")


def join(*children: Piece) -> Markup:
    return Markup("".join(escape(child) for child in children))


def escape(text: Piece) -> Markup:
    """Visible characters for those that would act; markup as it is."""
    if isinstance(text, Markup):
        return text
    shown = _TURNS.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", _UNPRINTABLE.sub("\ufffd", text))
    return Markup(html.escape(shown))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
