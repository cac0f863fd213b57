"""The system lines under which a model is asked who it is.

An identity that only answers under the line it was trained with is a coat of paint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from selfhood.data.identity_texts import HELPFUL_SYSTEM_LINE, MAKER_SYSTEM_LINE, NO_SYSTEM_LINE

Condition = Literal["none", "helpful", "maker", "role"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


def system_line(condition: Condition, *, roles: Sequence[str], number: int) -> str:
    """none: nobody wrote one, so that the chat template's own appears; role: one of ``roles``,
    which take turns."""
    match condition:
        case "none":
            return NO_SYSTEM_LINE
        case "helpful":
            return HELPFUL_SYSTEM_LINE
        case "maker":
            return MAKER_SYSTEM_LINE
        case "role":
            return roles[number % len(roles)]
