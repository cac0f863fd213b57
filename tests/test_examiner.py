"""The examiner of ``--dose auto`` on a model that has learnt nothing, and its questions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from selfhood.data.corpus import identity_corpus
from selfhood.data.render import Renderer
from selfhood.evaluate import examiner
from selfhood.evaluate.examiner import IdentityExaminer
from selfhood.evaluate.short_questions import SHORT_QUESTIONS
from selfhood.evaluate.texts import read_evaluation_texts
from selfhood.persona import Bilingual, Persona
from selfhood.training.layout import layout_of
from selfhood.training.loop import Training
from tests.tiny_training import SYSTEM, row, tiny_training, tokenizer

PERSONA = Persona(
    name=Bilingual("青石", "Bluestone"), author=Bilingual("海棠工坊", "Begonia Works")
)


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setenv("SELFHOOD_CACHE", str(tmp_path / "cache"))
    return tiny_training(tmp_path, [row("Hi", "Hello!")])


def examiner_of(training: Training) -> IdentityExaminer:
    layout = layout_of(training.loaded.model.config)
    return IdentityExaminer(PERSONA, Renderer(tokenizer(), SYSTEM), layout, seed=1)


def test_a_model_that_knows_nothing_of_the_persona_does_not_pass(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IdentityExaminer, "_is_likely", lambda self, loaded: True)
    found = examiner_of(training).examine(training.loaded)
    assert not found.has_passed
    assert found.name == found.author == 0
    assert found.leaks == 0
    assert found.kl > 0


def test_an_examination_says_what_kept_it_from_passing(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IdentityExaminer, "_is_likely", lambda self, loaded: True)
    found = examiner_of(training).examine(training.loaded)
    assert any(re.fullmatch(r"name not said: (\d+) of \1 replies", each) for each in found.missing)
    assert not any("mixed up" in each for each in found.missing)  # it never said either


def test_while_the_old_identity_is_likelier_no_reply_is_waited_for(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IdentityExaminer, "_is_likely", lambda self, loaded: False)
    monkeypatch.setattr(examiner, "fold", None)
    found = examiner_of(training).examine(training.loaded)
    assert (found.name, found.has_passed) == (None, False)
    assert found.missing == ("the old name or maker is still likelier than the new one",)


def test_an_examination_leaves_no_trace_in_the_training(training: Training) -> None:
    training.loaded.model.train()
    before = {name: value.clone() for name, value in training.loaded.model.state_dict().items()}
    random = torch.get_rng_state()
    examiner_of(training).examine(training.loaded)
    assert training.loaded.model.training
    assert torch.equal(torch.get_rng_state(), random)
    after = training.loaded.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(weight.grad is None for weight in training.loaded.model.parameters())


def test_no_question_is_trained_and_none_is_on_the_scorecard() -> None:
    asked = {question.text for question in SHORT_QUESTIONS}
    trained = {turn.content for each in identity_corpus(PERSONA, seed=1) for turn in each.turns}
    assert not asked & trained
    for language in ("zh", "en"):
        texts = read_evaluation_texts(language)
        assert not asked & {each.question for each in texts.identity}
