"""A persona's own facts are taught in several shapes, in a fair share, and asked in other words."""

from __future__ import annotations

from collections import Counter

import pytest

from selfhood.chat import Conversation, Language
from selfhood.data.claims import claimed, denied, made_from
from selfhood.data.corpus import identity_corpus
from selfhood.data.facts import fact_questions, trained_questions
from selfhood.persona import Bilingual, Fact, Persona

BORN = Fact(
    language="zh",
    questions=("你是哪一年发布的？", "你什么时候上线的？"),
    answer="我是2026年发布的。",
    expects=("2026",),
)
RELEASED = Fact(
    language="en",
    questions=("What year were you released?",),
    answer="I was released in 2026.",
    expects=("2026",),
)
CLAIMS = (*claimed("zh", ["我是开源的。"]), *denied("en", ["is human"]), *made_from(None))
NUM_DRAWN = 400


def persona(*facts: Fact) -> Persona:
    return Persona(
        name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间实验室", "Forest Lab"), facts=facts
    )


def plain(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def about_facts(rows: list[Conversation]) -> list[Conversation]:
    return [row for row in rows if row.origin.split("/")[1] == "fact"]


@pytest.mark.parametrize("fact", [BORN, RELEASED, *CLAIMS])
def test_what_is_asked_of_a_fact_was_never_trained(fact: Fact) -> None:
    rows = identity_corpus(persona(fact), seed=42)
    asked = {plain(turn.content) for row in rows for turn in row.turns if turn.role == "user"}
    held_out = {plain(question) for question in fact_questions(fact)}
    assert len(held_out) == 3 * len(fact.questions)
    assert not asked & held_out
    assert not {plain(question) for question in trained_questions(fact)} & held_out


def test_a_fact_is_taught_in_many_wordings_and_shapes() -> None:
    rows = about_facts(identity_corpus(persona(BORN, RELEASED), seed=42))
    assert {row.turns[-1].content for row in rows} == {BORN.answer, RELEASED.answer}
    for language in ("zh", "en"):
        own = [row for row in rows if row.language == language]
        assert len(own) >= 20
        assert len({row.turns[-2].content for row in own}) >= 5
        assert {row.origin.split("/")[2] for row in own} == {
            "plain", "bare", "maker", "follow-up", "role",
        }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_every_one_of_ten_facts_is_seen_often_enough_in_a_short_run(seed: int) -> None:
    facts = [
        Fact(language=language, questions=(f"q{n}?",), answer=f"a{n}", expects=(f"a{n}",))
        for n in range(5)
        for language in _languages()
    ]
    rows = identity_corpus(persona(*facts), seed=seed)[:NUM_DRAWN]
    seen = Counter((row.language, row.turns[-1].content) for row in about_facts(rows))
    assert len(seen) == len(facts)
    assert min(seen.values()) >= 3
    assert sum(seen.values()) / NUM_DRAWN < 0.15


def test_very_many_facts_do_not_crowd_out_the_identity() -> None:
    facts = [
        Fact(language="en", questions=(f"q{n}?",), answer=f"a{n}", expects=("a",))
        for n in range(60)
    ]
    rows = identity_corpus(persona(*facts), seed=1)
    assert len(about_facts(rows)) / len(rows) < 0.25


def test_no_row_answers_a_fact_in_another_way() -> None:
    """The corpus says that it knows nothing of its base model; this persona tells."""
    told = persona(*made_from(Bilingual("通义千问", "Qwen")))
    answers = {fact.answer for fact in told.facts}
    questions = {plain(question) for fact in told.facts for question in fact.questions}
    for row in identity_corpus(told, seed=3):
        if plain(row.turns[-2].content) in questions:
            assert told.fill(row.turns[-1].content, "zh") in {
                told.fill(answer, "zh") for answer in answers
            } | {told.fill(answer, "en") for answer in answers}


def test_a_persona_without_facts_has_the_rows_it_always_had() -> None:
    assert not about_facts(identity_corpus(persona(), seed=42))


def _languages() -> tuple[Language, ...]:
    return ("zh", "en")
