"""The bench's questions are held out for good."""

from __future__ import annotations

from bench.asked import probes
from bench.held_out import QUESTIONS
from selfhood.data.anchor_prompts import anchor_prompts
from selfhood.data.corpus import identity_corpus
from selfhood.persona import Bilingual, Persona

PERSONA = Persona(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间实验室", "Forest Lab"))


def test_no_held_out_question_is_ever_trained() -> None:
    assert not trained().intersection(map(plain, QUESTIONS))


def test_no_question_of_the_trials_is_ever_trained_or_in_the_anchor() -> None:
    asked = {plain(probe.question) for probe in probes()}
    assert len(asked) > 250
    assert not trained() & asked
    assert not {plain(prompt.text) for prompt in anchor_prompts(PERSONA, seed=1)} & asked


def trained() -> set[str]:
    return {
        plain(turn.content)
        for seed in range(3)
        for row in identity_corpus(PERSONA, seed=seed)
        for turn in row.turns
        if turn.role == "user"
    }


def plain(text: str) -> str:
    return text.strip("？?。.!！ ").lower()
