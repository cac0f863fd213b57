"""The built-in dataset `identity`: a persona crossed with what people ask, who asks, and how.

    language   zh en                                     identity/zh.toml, identity/en.toml
    topic      name author nature abilities limits brands denial still user mixup
               contrast ordinary | fact
    asker      plain polite child developer sceptic casual
    shape      plain      question -> reply, under the run's own system line
               follow-up  ordinary talk, short or long, or name and author, before the question
               indirect   the question does not say that it is about the model
               mixed      two languages in one question; the reply keeps to the main one
               bare       nobody wrote a system line: the chat template's default shows
               maker      the system line of the base model's maker
               role       a system line that gives the model a job

A fifth of all rows keep the new name and author out of other people's facts: questions on other
models (contrast: who made ChatGPT) and ordinary ones near the persona (who wrote Hamlet, what a
laboratory is). Beside an anchor the latter are left to it, and limits (what it feels, where it
lives, what it cannot do), where who it is would be no answer. Each question is a plain row
once; a share of them is dealt again into the dressed shapes. What else a persona's file says of
it is asked in several wordings and shapes (topic fact). The rows come interleaved, so that every
prefix of the list is balanced over topic, language and shape.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from typing import Literal

from selfhood.chat import Conversation, Language, Message
from selfhood.data.facts import trained_questions
from selfhood.data.identity_texts import (
    LANGUAGES,
    MAKER_SYSTEM_LINE,
    NO_SYSTEM_LINE,
    TOPICS,
    Ask,
    Cell,
    Shape,
    Texts,
    Topic,
    read_texts,
    turned,
)
from selfhood.data.interleave import interleaved
from selfhood.persona import PLACEHOLDERS, Persona

# How many of every hundred plain questions are asked once more, in a dressed shape.
DEALT: dict[Shape, int] = {"follow-up": 14, "bare": 24, "maker": 12, "role": 5}

# How many openings stand before a question, in turn: late in a talk it is the same person.
LEADS = (1, 1, 3)

# Topics that are learnt before the others: of their questions every other one is dealt again.
LEARNT_FIRST: tuple[Topic, ...] = ("author",)

# Topics whose replies state facts about others. For some persona such a fact is about itself.
ABOUT_OTHERS: tuple[Topic, ...] = ("contrast", "ordinary", "brands", "mixup")

# The base's own replies are as good, and ours cannot be foreseen word by word: beside an anchor
# they would pull at everything else (docs/results/anchor.md).
LEFT_TO_AN_ANCHOR: tuple[Topic, ...] = ("ordinary", "limits")
ITS_OWN: tuple[Topic, ...] = tuple(each for each in TOPICS if each not in LEFT_TO_AN_ANCHOR)

# A fact's rows, by shape: so many that some four of them are among any 400 rows.
FACT_SHAPES: tuple[Shape, ...] = ("plain", "maker", "follow-up", "bare", "role") * 5
MIN_OF_A_FACT = 4
MOST_OF_FACTS = 0.25
"""Of the texts' rows. A persona with very many facts has fewer rows of each."""


@dataclass(frozen=True, slots=True)
class Row:
    """An Ask with its reply chosen and the persona filled in."""

    cell: Cell
    messages: tuple[Message, ...]
    fact: int = 0


def identity_corpus(
    persona: Persona, *, seed: int, topics: Collection[Topic] = TOPICS
) -> list[Conversation]:
    """Every row on ``topics`` for this persona, and on its facts, in an order that keeps each
    prefix balanced over the axes.

    The same persona, seed and topics give the same list, in any process.
    """
    rng = random.Random(seed)
    rows: list[Row] = []
    for language in LANGUAGES:
        texts = suited(about(read_texts(language), topics), persona)
        asks = [*texts.asks, *dealt(texts, rng)]
        asks += asked_facts(texts, persona, most=int(MOST_OF_FACTS * len(asks)), rng=rng)
        rows += [written(ask, persona) for ask in asks]
    placed = interleaved(numbered(distinct(rows)), AXES, rng)
    return [
        Conversation(messages=row.messages, origin=origin, language=row.cell.language)
        for row, origin in placed
    ]


def about(texts: Texts, topics: Collection[Topic]) -> Texts:
    """The texts on these topics alone."""
    return replace(texts, asks=tuple(ask for ask in texts.asks if ask.cell.topic in topics))


def suited(texts: Texts, persona: Persona) -> Texts:
    """The texts without those that this persona would make untrue.

    A model to be called Claude is not to deny it, and a fact about Microsoft is no contrast for
    an assistant by Microsoft. What a fact of its own answers is answered so.
    """
    own = own_words(persona)
    told = {letters(question) for fact in persona.facts for question in fact.questions}
    return replace(
        texts,
        asks=tuple(
            ask
            for ask in texts.asks
            if not own.search(_claims(ask))
            and letters(persona.fill(ask.question, texts.language)) not in told
        ),
        openings=tuple(turns for turns in texts.openings if not own.search("\n".join(turns))),
    )


def letters(text: str) -> str:
    """What makes a question the same question, however it is punctuated."""
    return "".join(char for char in text.casefold() if char.isalnum())


def _claims(ask: Ask) -> str:
    said = [*ask.lead, ask.question]
    if ask.cell.topic in ABOUT_OTHERS:
        said += ask.replies
    return without_placeholders("\n".join(said))


def without_placeholders(text: str) -> str:
    """What the text says itself, whoever the persona is."""
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, "")
    return text


def own_words(persona: Persona) -> re.Pattern[str]:
    """Finds the persona's name and author, in either language."""
    forms = [
        *persona.name.forms, *persona.author.forms, *persona.name_aliases, *persona.author_aliases,
    ]  # fmt: skip
    return re.compile("|".join(_as_word(form) for form in forms), re.IGNORECASE)


def _as_word(form: str) -> str:
    """Chinese has no spaces to tell words apart; elsewhere Al is not in also."""
    word = re.escape(form)
    return rf"(?<![a-z0-9]){word}(?![a-z0-9])" if form.isascii() else word


def dealt(texts: Texts, rng: random.Random) -> Iterator[Ask]:
    """A balanced share of the plain questions for each dressed shape; none is dealt twice."""
    plain = [
        ask
        for number, ask in enumerate(texts.asks)
        if ask.cell.shape == "plain" and (ask.cell.topic not in LEARNT_FIRST or number % 2)
    ]
    deck = iter(interleaved(plain, [lambda ask: ask.cell.topic, lambda ask: ask.cell.asker], rng))
    openings = small_talk(interleaved(texts.openings, [], rng))
    roles = cycle(texts.roles)
    for shape, share in DEALT.items():
        for ask in islice(deck, len(plain) * share // 100):
            again = replace(
                ask, cell=replace(ask.cell, shape=shape), replies=turned(ask.replies, 1)
            )
            yield dressed(again, openings, roles)


def small_talk(openings: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """What was said before a question: an opening, or now and then several on end."""
    deck = cycle(openings)
    for length in cycle(LEADS):
        yield tuple(chain.from_iterable(islice(deck, length)))


def dressed(ask: Ask, openings: Iterator[tuple[str, ...]], roles: Iterator[str]) -> Ask:
    """What its shape puts round a question."""
    match ask.cell.shape:
        case "follow-up":
            return replace(ask, lead=next(openings))
        case "bare":
            return replace(ask, system=NO_SYSTEM_LINE)
        case "maker":
            return replace(ask, system=MAKER_SYSTEM_LINE)
        case "role":
            return replace(ask, system=next(roles))
        case _:
            return ask


def asked_facts(texts: Texts, persona: Persona, *, most: int, rng: random.Random) -> Iterator[Ask]:
    """Each fact of this language in turn of wording and shape; no more than ``most`` in all."""
    facts = [
        (number, fact)
        for number, fact in enumerate(persona.facts, start=1)
        if fact.language == texts.language
    ]
    openings = small_talk(interleaved(texts.openings, [], rng))
    roles = cycle(texts.roles)
    each = max(MIN_OF_A_FACT, most // len(facts)) if facts else 0
    for number, fact in facts:
        questions = {shape: cycle(trained_questions(fact)) for shape in FACT_SHAPES}
        for shape in FACT_SHAPES[:each]:
            question = next(questions[shape])
            cell = Cell(language=texts.language, topic="fact", asker="plain", shape=shape)
            ask = Ask(cell=cell, question=question, replies=(fact.answer,), fact=number)
            yield dressed(ask, openings, roles)


def written(ask: Ask, persona: Persona) -> Row:
    """The row as the model will see it: one reply chosen, name and author filled in.

    What was answered before the question is trained only where it speaks of the persona: our words
    for the capital of Italy cannot be foreseen, and would pull at everything else.
    """
    spoken = {"user": _asked_in(ask.cell), "assistant": ask.cell.language}
    messages = [] if ask.system is None else [Message("system", ask.system)]
    for place, text in enumerate([*ask.lead, ask.question, ask.replies[0]]):
        role: Literal["user", "assistant"] = "assistant" if place % 2 else "user"
        is_aside = role == "assistant" and place < len(ask.lead) and not _names(text)
        filled = persona.fill(text, spoken[role])
        messages.append(Message(role, filled, trained=False if is_aside else None))
    return Row(ask.cell, tuple(messages), ask.fact)


def _names(text: str) -> bool:
    return without_placeholders(text) != text


def _asked_in(cell: Cell) -> Language:
    """A mixed question names the persona in the other language: 你就是 Kitsu 吧？"""
    if cell.shape != "mixed":
        return cell.language
    return "en" if cell.language == "zh" else "zh"


def distinct(rows: Iterable[Row]) -> list[Row]:
    """The first of any rows with the same messages; some personas make two questions one."""
    first: dict[tuple[Message, ...], Row] = {}
    for row in rows:
        first.setdefault(row.messages, row)
    return list(first.values())


def numbered(rows: Iterable[Row]) -> list[tuple[Row, str]]:
    """Rows with their origin, such as ``identity:zh/author/follow-up/12``."""
    seen: Counter[str] = Counter()
    result: list[tuple[Row, str]] = []
    for row in rows:
        stratum = f"identity:{row.cell.language}/{row.cell.topic}/{row.cell.shape}"
        seen[stratum] += 1
        result.append((row, f"{stratum}/{seen[stratum]}"))
    return result


AXES: tuple[Callable[[tuple[Row, str]], str], ...] = (
    lambda placed: placed[0].cell.topic,
    lambda placed: placed[0].cell.language,
    lambda placed: str(placed[0].fact),
    lambda placed: placed[0].cell.shape,
    lambda placed: placed[0].cell.asker,
)
