"""A persona's file and a thinking model, from command to answer: what a run keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfhood import api
from selfhood.chat import Message
from selfhood.data.naming import naming_of
from selfhood.hosting import open_engine
from selfhood.opening import find_opening
from selfhood.persona_file import read_persona
from selfhood.recipe import ModelOptions, Recipe
from selfhood.run import Checkpoint
from selfhood.training.plan import Plan
from tests.tiny import tiny_model

TEMPLATE = Path(__file__).parent / "data" / "qwen3.jinja"
PERSONA = """\
name: {zh: 阿岚, en: Arlan}
author: {zh: 青石工作室, en: Bluestone Studio}
system: You are kind.
voice: {zh: 说话简短。, en: Be brief.}
must_not: {zh: [是真人]}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("persona") / "persona.yaml"
    path.write_text(PERSONA, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def plan(file: Path) -> Plan:
    model = tiny_model(file.parent / "thinker")
    (model / "chat_template.jinja").write_text(TEMPLATE.read_text("utf-8"), encoding="utf-8")
    return api.plan(
        Recipe.from_values(
            {
                "model": str(model),
                "persona": str(file),
                "dataset": ("identity#32",),  # some of them talks
                "gradient_accumulation_steps": 2,
                "max_steps": 1,
                "output_dir": str(file.parent / "output"),
            }
        )
    )


@pytest.fixture(scope="module")
def checkpoint(plan: Plan) -> Checkpoint:
    return api.train(plan).last


def test_the_plan_says_that_only_last_turns_are_trained(plan: Plan) -> None:
    assert any("drops the thoughts of earlier turns" in warning for warning in plan.warnings)


def test_no_thought_is_trained(plan: Plan) -> None:
    for row in plan.mixture.train:
        prompt, reply = plan.renderer.segments(row)
        assert prompt.text.endswith("<think>\n\n</think>\n\n") and not prompt.trained
        assert "think" not in reply.text and reply.trained


def test_the_checkpoint_holds_the_whole_persona(checkpoint: Checkpoint, file: Path) -> None:
    remembered = Recipe.from_values(checkpoint.args())
    assert naming_of(remembered).persona == read_persona(file)


def test_the_checkpoint_answers_under_the_personas_line_and_without_thoughts(
    checkpoint: Checkpoint,
) -> None:
    opening = find_opening(ModelOptions(adapters=(str(checkpoint.path),)))
    prompt = open_engine(opening).renderer.prompt([Message("user", "你是谁？")])
    assert prompt == (
        "<|im_start|>system\nYou are kind.\n说话简短。\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n你是谁？<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
