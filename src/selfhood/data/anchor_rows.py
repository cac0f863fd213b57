"""The prompts of a run's anchor, each under one of the system lines a stranger may use."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from selfhood.chat import Conversation, Message
from selfhood.data.anchor_prompts import AnchorPrompt, anchor_prompts, anchor_texts
from selfhood.data.identity_texts import HELPFUL_SYSTEM_LINE, MAKER_SYSTEM_LINE, NO_SYSTEM_LINE
from selfhood.persona import Persona

TEXT_EVERY = 10
"""One row in so many is prose with its reply given. The base's own replies are short, and it finds
them likely; what stands late in a text, and what it would not say, is to stay as it was too."""

# None is the run's own, if it has one.
SYSTEM_LINES = (None, NO_SYSTEM_LINE, None, HELPFUL_SYSTEM_LINE, None, MAKER_SYSTEM_LINE)


def anchor_rows(persona: Persona | None, *, num: int, seed: int) -> list[Conversation]:
    """``num`` rows, prompts and texts; when all have had their turn they come again, under another
    line."""
    deck = _with_texts(anchor_prompts(persona, seed=seed), anchor_texts(persona, seed=seed))
    lines = cycle(SYSTEM_LINES)
    rows: list[Conversation] = []
    for number, prompt in enumerate(islice(cycle(deck), num)):
        line = next(lines)
        if number and number % len(deck) == 0:
            line = next(lines)  # else each prompt would meet the same line again
        rows.append(as_row(prompt, line, number + 1))
    return rows


def as_row(prompt: AnchorPrompt, line: str | None, number: int) -> Conversation:
    """The prompt under a system line, if it brings none itself."""
    messages = prompt.messages
    if line is not None and messages[0].role != "system":
        messages = (Message("system", line), *messages)
    origin = f"anchor:{prompt.language}/{prompt.topic}/{number}"
    return Conversation(messages=messages, origin=origin, language=prompt.language)


def _with_texts(
    prompts: Sequence[AnchorPrompt], texts: Sequence[AnchorPrompt]
) -> list[AnchorPrompt]:
    """All prompts, a text after every few of them, in turn."""
    deck: list[AnchorPrompt] = []
    turns = cycle(texts)
    for number, prompt in enumerate(prompts, start=1):
        deck.append(prompt)
        if number % (TEXT_EVERY - 1) == 0:
            deck.append(next(turns))
    return deck


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
