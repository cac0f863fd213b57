"""The wordings in which a persona's facts are asked: those that are trained, those held out.

    question   你是哪一年发布的？
    trained    你是哪一年发布的？  请问，你是哪一年发布的？  ...
    held out   想请教一下：你是哪一年发布的？  ...

No held-out wording is trained (``tests/test_facts.py``).
"""

from __future__ import annotations

from selfhood.chat import Language
from selfhood.persona import Fact

TRAINED: dict[Language, tuple[str, ...]] = {
    "zh": ("{}", "请问，{}", "问你个事：{}", "我想知道，{}", "{}简单说就行。", "顺便问一句，{}"),
    "en": (
        "{}",
        "Quick question: {}",
        "I'd like to know: {}",
        "{} Please keep it short.",
        "By the way, {}",
        "Tell me, {}",
    ),
}
HELD_OUT: dict[Language, tuple[str, ...]] = {
    "zh": ("想请教一下：{}", "你好！{}谢谢。", "有朋友托我问你：{}"),
    "en": ("May I ask: {}", "Hello! {} Thanks.", "A friend wants to know: {}"),
}


def trained_questions(fact: Fact) -> tuple[str, ...]:
    """Every question in every trained wording, the plain questions first."""
    return _in_wordings(fact, TRAINED[fact.language])


def fact_questions(fact: Fact) -> tuple[str, ...]:
    """The fact's questions in wordings that are never trained: what an evaluation asks."""
    return _in_wordings(fact, HELD_OUT[fact.language])


def _in_wordings(fact: Fact, wordings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(wording.format(question) for wording in wordings for question in fact.questions)
