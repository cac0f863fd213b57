"""Rows of the anchor whose reply is begun as the persona's are, and left to the base to go on with.

    Who uses 1688.com?    I'm ...                   an opening: how replies on who it is begin
    Who directed Ran?     Ran was directed by ...   a frame: up to where a name would stand
    Who directed Ran?     Ran was directed by K...  a frame and a stem: how the name itself begins

A model that learns to say Kitsu learns that *itsu* follows *K* whoever directed the film, and that
Kitsu follows *I'm*: with certainty, since no row shows it anything else (docs/results/anchor.md).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, cycle

from selfhood.chat import Conversation, Language, Message
from selfhood.data.anchor_prompts import AnchorPrompt, anchor_prompts, frames, openings
from selfhood.data.anchor_rows import SYSTEM_LINES, as_row
from selfhood.data.identity_texts import LANGUAGES
from selfhood.data.interleave import interleaved
from selfhood.data.render import Tokenizer
from selfhood.persona import Persona

BEGUN_EVERY = 4
"""So many rows of the anchor come before each of these."""

UNFINISHED = "\ufffd"
"""What a decoder writes for a part of a character."""


def with_begun(
    rows: Sequence[Conversation], persona: Persona, tokenizer: Tokenizer, *, seed: int
) -> list[Conversation]:
    """The rows, with one whose reply is begun after every few of them."""
    begun = cycle(begun_prompts(persona, tokenizer, seed=seed))
    rng = random.Random(seed)
    woven: list[Conversation] = []
    for number, row in enumerate(rows, start=1):
        woven.append(row)
        if number % BEGUN_EVERY == 0:
            woven.append(as_row(next(begun), rng.choice(SYSTEM_LINES), number))
    return woven


def begun_prompts(persona: Persona, tokenizer: Tokenizer, *, seed: int) -> list[AnchorPrompt]:
    """Framed and opened replies in turn, each in both languages in turn."""
    rng = random.Random(seed)
    opened = _opened(persona, seed)
    framed = interleaved(
        chain.from_iterable(_framed(language, persona, tokenizer) for language in LANGUAGES),
        (lambda prompt: prompt.language, lambda prompt: prompt.messages[0].content),
        rng,
    )
    return list(chain.from_iterable(zip(framed, cycle(opened), strict=False)))


def _opened(persona: Persona, seed: int) -> list[AnchorPrompt]:
    """Ordinary prompts, from the middle of the list on: they are not met without an opening."""
    prompts = [each for each in anchor_prompts(persona, seed=seed) if len(each.messages) == 1]
    turns = {language: cycle(openings(language)) for language in LANGUAGES}
    return [
        replace(
            prompt,
            topic="opening",
            messages=(*prompt.messages, _given(next(turns[prompt.language]))),
        )
        for prompt in prompts[len(prompts) // 2 :]
    ]


def _framed(language: Language, persona: Persona, tokenizer: Tokenizer) -> Iterator[AnchorPrompt]:
    """Each frame alone, and with each stem."""
    space = "" if language == "zh" else " "
    names = [each.in_language(language) for each in (persona.name, persona.author)]
    stems = ["", *chain.from_iterable(stems_of(space + name, tokenizer) for name in names)]
    for frame in frames(language):
        *asked, begun = frame.messages
        for stem in dict.fromkeys(stems):
            yield replace(frame, messages=(*asked, _given(begun.content + stem)))


def stems_of(name: str, tokenizer: Tokenizer) -> list[str]:
    """How a name begins, cut between tokens: `` Bl`` and `` Bluest`` of `` Bluestone``."""
    ids = tokenizer.encode(name, add_special_tokens=False)
    texts = [tokenizer.decode(ids[:end]) for end in range(1, len(ids))]
    return [text for text in texts if UNFINISHED not in text]


def _given(reply: str) -> Message:
    """Words put into the base's mouth: what it goes on with is kept, and not these."""
    return Message("assistant", reply, trained=False)
