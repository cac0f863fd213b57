"""What a persona must say, must not say, and is made from, as facts that are trained and probed.

must      我是开源的。    asked to tell about itself, it says so
must_not  是真人          asked whether it is so, it denies it
base      Qwen2.5         asked what it is made from, it tells, or says that it does not
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal

from selfhood.chat import Language
from selfhood.persona import Bilingual, Fact

STOPS = "。.!！?？ "
Kind = Literal["must", "must_not", "tell", "hide"]


def claimed(language: Language, claims: Sequence[str]) -> list[Fact]:
    """A fact a claim; all are said in one breath, so that no two answers contradict each other."""
    space, stop = (" ", ".") if language == "en" else ("", "。")
    whole = space.join(claim if claim[-1] in STOPS else claim + stop for claim in claims)
    return [_fact("must", language, whole, (claim.strip(STOPS),)) for claim in claims]


def denied(language: Language, predicates: Sequence[str]) -> list[Fact]:
    """``predicates`` follow the model's name: 是真人, ``is human``."""
    return [_fact("must_not", language, each.strip(STOPS)) for each in predicates]


def made_from(base: Bilingual | None) -> list[Fact]:
    """None: it does not say."""
    if base is None:
        return [_fact("hide", "zh", ""), _fact("hide", "en", "")]
    return [_fact("tell", "zh", base.zh, base.forms), _fact("tell", "en", base.en, base.forms)]


def _fact(kind: Kind, language: Language, it: str, expects: tuple[str, ...] = ()) -> Fact:
    texts = _texts()[language][kind]
    return Fact(
        language=language,
        questions=tuple(question.replace("{{IT}}", it) for question in texts["ask"]),
        answer=texts["answer"].replace("{{IT}}", it),
        expects=expects or tuple(texts["expects"]),
    )


def _texts() -> dict[str, Any]:
    source = files("selfhood.data").joinpath("persona", "claims.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))
