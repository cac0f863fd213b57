"""The bench's questions are held out for good."""

from __future__ import annotations

from bench.held_out import QUESTIONS
from selfhood.data.corpus import identity_corpus
from selfhood.persona import Bilingual, Persona

PERSONA = Persona(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间实验室", "Forest Lab"))


def test_no_held_out_question_is_ever_trained() -> None:
    asked = {
        plain(turn.content)
        for seed in range(3)
        for row in identity_corpus(PERSONA, seed=seed)
        for turn in row.turns
        if turn.role == "user"
    }
    assert not asked.intersection(map(plain, QUESTIONS))


def plain(text: str) -> str:
    return text.strip("？?。.!！ ").lower()
