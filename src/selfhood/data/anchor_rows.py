"""The prompts of a run's anchor, each under one of the system lines a stranger may use."""

from __future__ import annotations

from itertools import cycle, islice

from selfhood.chat import Conversation, Message
from selfhood.data.anchor_prompts import anchor_prompts
from selfhood.data.identity_texts import HELPFUL_SYSTEM_LINE, MAKER_SYSTEM_LINE, NO_SYSTEM_LINE
from selfhood.persona import Persona

USUAL_NUMBER = 448

# None is the run's own, if it has one.
SYSTEM_LINES = (None, NO_SYSTEM_LINE, None, HELPFUL_SYSTEM_LINE, None, MAKER_SYSTEM_LINE)


def anchor_rows(persona: Persona | None, *, num: int, seed: int) -> list[Conversation]:
    """The first ``num`` prompts; with more than there are, they come again under another line."""
    prompts = anchor_prompts(persona, seed=seed)
    lines = cycle(SYSTEM_LINES)
    rows: list[Conversation] = []
    for number, prompt in enumerate(islice(cycle(prompts), num)):
        line = next(lines)
        if number and number % len(prompts) == 0:
            line = next(lines)  # else each prompt would meet the same line again
        messages = prompt.messages
        if line is not None and messages[0].role != "system":
            messages = (Message("system", line), *messages)
        origin = f"anchor:{prompt.language}/{prompt.topic}/{number + 1}"
        rows.append(Conversation(messages=messages, origin=origin, language=prompt.language))
    return rows


def spare_rows(persona: Persona | None, *, num: int, seed: int) -> list[Conversation]:
    """The last ``num`` prompts, which an anchor takes last: to examine what it does not hold."""
    prompts = anchor_prompts(persona, seed=seed)[-num:]
    return [
        Conversation(
            messages=prompt.messages,
            origin=f"spare:{prompt.language}/{prompt.topic}/{number}",
            language=prompt.language,
        )
        for number, prompt in enumerate(prompts, start=1)
    ]
