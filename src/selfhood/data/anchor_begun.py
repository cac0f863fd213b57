"""Rows of the anchor whose reply is begun up to a name, and left to the base to go on with.

    Who directed Ran?   Ran was directed by ...    a frame: up to where a name would stand
    Who directed Ran?   Ran was directed by K...   a frame and a stem: how the persona's name begins

A model that learns to say Kitsu learns that *itsu* follows *K* whoever directed the film, and with
certainty: no other row shows it a K (docs/results/anchor.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle

from selfhood.chat import Conversation, Language
from selfhood.data.anchor_prompts import AnchorPrompt, frames
from selfhood.data.anchor_rows import SYSTEM_LINES, as_row
from selfhood.data.identity_texts import LANGUAGES
from selfhood.data.interleave import interleaved
from selfhood.data.render import Tokenizer
from selfhood.persona import Persona

BEGUN_EVERY = 10
"""So many rows of the anchor come before each of these."""


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
    """Each frame alone and with each stem, in an order whose prefixes are balanced."""
    prompts = [
        going_on(frame, stem)
        for language in LANGUAGES
        for frame in frames(language)
        for stem in ["", *persona_stems(persona, language, tokenizer)]
    ]
    return interleaved(prompts, AXES, random.Random(seed))


def going_on(frame: AnchorPrompt, stem: str) -> AnchorPrompt:
    """The frame with more words put into the base's mouth: what it goes on with is kept."""
    *asked, begun = frame.messages
    return replace(frame, messages=(*asked, replace(begun, content=begun.content + stem)))


def persona_stems(persona: Persona, language: Language, tokenizer: Tokenizer) -> list[str]:
    """Of name and author, as they stand within a sentence."""
    space = "" if language == "zh" else " "
    names = [each.in_language(language) for each in (persona.name, persona.author)]
    stems = [stem for name in names for stem in stems_of(space + name, tokenizer)]
    return list(dict.fromkeys(stems))


def stems_of(name: str, tokenizer: Tokenizer) -> list[str]:
    """How a name begins, cut between tokens: `` Bl`` and `` Bluest`` of `` Bluestone``.

    Not what a decoder makes of a part of a character; and some decoders drop the space before.
    """
    bare = name.lstrip()
    space = name.removesuffix(bare)
    ids = tokenizer.encode(name, add_special_tokens=False)
    texts = [tokenizer.decode(ids[:end]).lstrip() for end in range(1, len(ids))]
    return [space + text for text in texts if text and bare.startswith(text)]


AXES: tuple[Callable[[AnchorPrompt], str], ...] = (
    lambda prompt: prompt.language,
    lambda prompt: prompt.messages[0].content,
)
