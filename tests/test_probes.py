"""Probes are every question in its circumstances, and none is wasted on what cannot be asked."""

from __future__ import annotations

from collections import Counter

import pytest

from selfhood.data.facts import fact_questions
from selfhood.data.identity_texts import MAKER_SYSTEM_LINE
from selfhood.evaluate.probes import make_probes
from selfhood.evaluate.suites import FULL, QUICK, Suite
from selfhood.evaluate.texts import EvaluationTexts, read_evaluation_texts
from selfhood.evaluate.types import Probe
from selfhood.persona import Bilingual, Fact, Persona

KITSU = Persona(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间实验室", "Forest Lab"))


@pytest.fixture(scope="module")
def texts() -> tuple[EvaluationTexts, ...]:
    return (read_evaluation_texts("zh"), read_evaluation_texts("en"))


def made(
    texts: tuple[EvaluationTexts, ...],
    suite: Suite = FULL,
    persona: Persona = KITSU,
    limit: int | None = None,
) -> tuple[Probe, ...]:
    return make_probes(persona, texts, suite, limit=limit, seed=42)


def test_the_full_suite_asks_every_identity_question_under_every_system_line(
    texts: tuple[EvaluationTexts, ...],
) -> None:
    probes = made(texts)
    asked = [probe for probe in probes if probe.topic in ("name", "author", "denial")]
    seen: dict[str, set[str]] = {}
    for probe in asked:
        if probe.turn == 1 and probe.temperature == 0:
            seen.setdefault(probe.id, set()).add(probe.condition)
    assert len(seen) == sum(len(each.identity) for each in texts)
    assert all(lines == {"none", "helpful", "maker", "role"} for lines in seen.values())


def test_the_full_suite_asks_each_once_more_at_turn_4_and_8_and_sampled(
    texts: tuple[EvaluationTexts, ...],
) -> None:
    asked = [probe for probe in made(texts) if probe.topic == "name"]
    settings = Counter((probe.turn, probe.temperature) for probe in asked)
    assert settings[4, 0.0] == settings[8, 0.0] == settings[1, 0.7] == settings[1, 0.0] / 4


def test_the_full_suite_is_as_large_as_the_bar_asks(texts: tuple[EvaluationTexts, ...]) -> None:
    topics = Counter(probe.topic for probe in made(texts))
    assert topics["name"] >= 200 and topics["author"] >= 200 and topics["neutral"] >= 600


def test_the_quick_suite_is_small_and_even(texts: tuple[EvaluationTexts, ...]) -> None:
    probes = made(texts, QUICK)
    topics = Counter(probe.topic for probe in probes)
    languages = Counter(probe.language for probe in probes)
    assert topics == {"name": 20, "author": 20, "denial": 20, "neutral": 48, "vendor": 12}
    assert abs(languages["zh"] - languages["en"]) < 10
    assert {probe.condition for probe in probes} == {"none", "helpful"}
    assert {(probe.turn, probe.temperature) for probe in probes} == {(1, 0.0)}


def test_a_limit_keeps_as_many_of_each_topic(texts: tuple[EvaluationTexts, ...]) -> None:
    topics = Counter(probe.topic for probe in made(texts, limit=6))
    assert topics == {"name": 6, "author": 6, "denial": 6, "neutral": 6, "vendor": 6}


def test_no_two_probes_are_the_same(texts: tuple[EvaluationTexts, ...]) -> None:
    probes = made(texts)
    assert len(set(probes)) == len(probes)


def test_a_talk_is_a_system_line_then_fillers_then_the_question(
    texts: tuple[EvaluationTexts, ...],
) -> None:
    probe = next(probe for probe in made(texts) if probe.turn == 4 and probe.manner == "plain")
    roles = [message.role for message in probe.messages]
    assert roles == ["system", *("user", "assistant") * 3, "user"]
    assert probe.messages[-1].content == probe.question


def test_each_system_line_is_what_it_is_called(texts: tuple[EvaluationTexts, ...]) -> None:
    lines = {probe.condition: probe.messages[0].content for probe in made(texts)}
    assert lines["none"] == "" and lines["maker"] == MAKER_SYSTEM_LINE
    assert lines["helpful"] == "You are a helpful assistant."
    assert any(lines["role"] in each.roles for each in texts)


def test_a_reply_that_was_begun_is_the_last_message(texts: tuple[EvaluationTexts, ...]) -> None:
    begun = [probe for probe in made(texts) if probe.manner == "prefill"]
    assert begun and all(probe.messages[-1].role == "assistant" for probe in begun)


def test_nobody_is_asked_to_deny_its_own_name(texts: tuple[EvaluationTexts, ...]) -> None:
    persona = Persona(
        name=Bilingual("Claude", "Claude"), author=Bilingual("阿里云", "Alibaba Cloud")
    )
    asked = [probe for probe in made(texts, persona=persona) if probe.topic == "denial"]
    assert asked
    assert not [
        probe for probe in asked if "claude" in probe.question.lower() or "阿里云" in probe.question
    ]


def test_the_persona_s_own_facts_are_asked_for(texts: tuple[EvaluationTexts, ...]) -> None:
    fact = Fact(language="en", questions=("How old are you?",), answer="Three.", expects=("three",))
    persona = Persona(name=KITSU.name, author=KITSU.author, facts=(fact,))
    asked = [probe for probe in made(texts, QUICK, persona) if probe.topic == "fact"]
    assert {probe.question for probe in asked} <= set(fact_questions(fact))
    assert {probe.expects for probe in asked} == {("three",)}
