"""Of the rows of ``identity`` that a run was given, and of those that it did not come to, how many
are answered as they say.

Hundreds of questions, so that two recipes can be told apart that a few dozen cannot; and what is
wrong among the rows that were learnt says whether it is rows or learning that lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from selfhood.chat import Conversation, Message
from selfhood.data.corpus import ITS_OWN, identity_corpus
from selfhood.data.identity_texts import HELPFUL_SYSTEM_LINE
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Request, Sampling, fold
from selfhood.model.adapters import ADAPTER
from selfhood.persona import Persona

SEED = 42
EVERY = 4
"""One row in so many is asked."""
SAMPLING = Sampling(max_new_tokens=24)


def told(engine: NativeEngine, persona: Persona, *, num_learnt: int) -> list[str]:
    """``145 of 150`` of the first ``num_learnt`` rows, then of the others."""
    rows = identity_corpus(persona, seed=SEED, topics=ITS_OWN)
    return [
        _share(engine, persona, rows[:num_learnt:EVERY]),
        _share(engine, persona, rows[num_learnt::EVERY]),
    ]


def _share(engine: NativeEngine, persona: Persona, rows: Sequence[Conversation]) -> str:
    requests = [Request(messages=_asked(row), sampling=SAMPLING, adapter=ADAPTER) for row in rows]
    replies = fold(engine.stream(requests), len(requests))
    wrong = [
        f"  row: {row.messages[-2].content} -> {reply.text}"
        for row, reply in zip(rows, replies, strict=True)
        if not agrees(persona, row, reply.text)
    ]
    print("\n".join(wrong), file=sys.stderr)
    return f"{len(rows) - len(wrong)} of {len(rows)}"


def _asked(row: Conversation) -> tuple[Message, ...]:
    """Under the system line that a run puts before rows without one."""
    asked = row.messages[:-1]
    if asked[0].role == "system":
        return asked
    return (Message("system", HELPFUL_SYSTEM_LINE), *asked)


def agrees(persona: Persona, row: Conversation, reply: str) -> bool:
    """Whether a reply speaks of the persona where the row does: by name where that is asked, by
    author where that is, else by either."""
    names, authors = persona.name.forms, persona.author.forms
    topic = row.origin.split("/")[1]
    forms = {"name": names, "author": authors}.get(topic, (*names, *authors))
    wanted = row.messages[-1].content
    return _holds(wanted, forms) == _holds(reply, forms)


def _holds(text: str, forms: Sequence[str]) -> bool:
    return any(form in text for form in forms)
