from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from selfhood.chat import Language
from selfhood.data.anchor_prompts import anchor_prompts, anchor_texts
from selfhood.data.corpus import identity_corpus
from selfhood.data.identity_texts import LANGUAGES
from selfhood.evaluate.texts import (
    AnyOf,
    EvaluationTexts,
    IdentityQuestion,
    JsonKeys,
    LineCount,
    PassingCode,
    Pattern,
    read_evaluation_texts,
)
from selfhood.persona import Bilingual, Persona, language_of

KITSU = Persona(
    name=Bilingual("小狐", "Kitsu"),
    author=Bilingual("林间实验室", "Forest Lab"),
)
TEXTS = {language: read_evaluation_texts(language) for language in LANGUAGES}
EVERY_LANGUAGE = pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)


def letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def trigrams(text: str) -> frozenset[str]:
    plain = letters(text)
    return frozenset(plain[start : start + 3] for start in range(max(1, len(plain) - 2)))


def trained() -> list[str]:
    said = [turn for row in identity_corpus(KITSU, seed=0) for turn in row.turns]
    said += [turn for prompt in anchor_prompts(KITSU, seed=0) for turn in prompt.messages]
    said += [turn for text in anchor_texts(KITSU, seed=0) for turn in text.messages]
    return sorted({turn.content for turn in said if turn.role == "user"})


TRAINED = trained()
TRAINED_LETTERS = frozenset(map(letters, TRAINED))
TRAINED_TRIGRAMS = list(map(trigrams, TRAINED))
HOLDERS: dict[str, list[int]] = {}
for place, grams in enumerate(TRAINED_TRIGRAMS):
    for gram in grams:
        HOLDERS.setdefault(gram, []).append(place)


def nearest(question: str) -> tuple[float, str]:
    """The text trained on that shares most with the question, by Jaccard's measure: the trigrams
    that both have, as a share of all."""
    grams = trigrams(question)
    shared = Counter(place for gram in grams for place in HOLDERS.get(gram, ()))
    return max(
        (
            (num / (len(grams) + len(TRAINED_TRIGRAMS[place]) - num), TRAINED[place])
            for place, num in shared.items()
        ),
        default=(0.0, ""),
    )


def asked(texts: EvaluationTexts) -> list[str]:
    """Everything whose answer is judged."""
    return [
        *(each.question for each in texts.neutral),
        *(each.question for each in texts.vendor),
        *(each.question for each in texts.identity),
        *(each.prompt for each in texts.ability),
        *(each.prompt for each in texts.passages),
    ]


def repeated(questions: Iterable[str]) -> list[str]:
    return [question for question, times in Counter(map(letters, questions)).items() if times > 1]


@EVERY_LANGUAGE
def test_there_are_enough_texts_of_every_kind(texts: EvaluationTexts) -> None:
    assert len(texts.neutral) >= 320
    assert len(texts.vendor) >= 15
    assert len(texts.fillers) >= 12
    assert len(texts.roles) >= 3
    assert len(texts.ability) >= 60
    assert len(texts.passages) >= 24
    about = Counter(each.about for each in texts.identity)
    assert about["name"] >= 60
    assert about["author"] >= 60
    assert about["denial"] >= 35


@EVERY_LANGUAGE
def test_every_manner_of_asking_is_there(texts: EvaluationTexts) -> None:
    manners = {"plain", "typo", "mixed", "false claim", "role-play", "prefill"}
    if texts.language == "zh":
        manners.add("traditional")
    for about in ("name", "author", "denial"):
        assert {each.manner for each in texts.identity if each.about == about} == manners


@EVERY_LANGUAGE
def test_nothing_that_is_asked_is_ever_trained_on(texts: EvaluationTexts) -> None:
    assert [each for each in asked(texts) if letters(each) in TRAINED_LETTERS] == []


@EVERY_LANGUAGE
def test_nothing_that_is_asked_is_nearly_what_is_trained_on(texts: EvaluationTexts) -> None:
    close = [(each, *nearest(each)) for each in asked(texts) if nearest(each)[0] >= 0.8]
    assert close == []


@EVERY_LANGUAGE
def test_nothing_is_asked_twice(texts: EvaluationTexts) -> None:
    assert repeated(asked(texts)) == []


@EVERY_LANGUAGE
def test_no_text_names_a_persona(texts: EvaluationTexts) -> None:
    persona = re.compile("小狐|Kitsu|林间实验室|Forest Lab|{{", re.IGNORECASE)
    assert not persona.search(repr(texts))


@EVERY_LANGUAGE
def test_neutral_questions_have_the_topics_of_the_anchor(texts: EvaluationTexts) -> None:
    anchor = {
        prompt.topic
        for prompt in anchor_prompts(None, seed=0)
        if prompt.language == texts.language and len(prompt.messages) == 1
    }
    assert {each.topic for each in texts.neutral} == anchor


@EVERY_LANGUAGE
def test_a_question_is_in_the_language_of_its_file(texts: EvaluationTexts) -> None:
    questions = [each.question for each in texts.identity if each.manner != "mixed"]
    assert [each for each in questions if language_of(each) != texts.language] == []
    alike = [language_of(each.question) == texts.language for each in texts.neutral]
    assert sum(alike) >= 0.98 * len(alike)


@EVERY_LANGUAGE
def test_a_mixed_question_is_in_both_languages(texts: EvaluationTexts) -> None:
    mixed = [each.question for each in texts.identity if each.manner == "mixed"]
    assert all(language_of(each) == "zh" and re.search("[A-Za-z]", each) for each in mixed)


@EVERY_LANGUAGE
def test_a_prefill_question_says_how_the_reply_begins(texts: EvaluationTexts) -> None:
    assert all((each.manner == "prefill") == bool(each.prefill) for each in texts.identity)


@EVERY_LANGUAGE
def test_a_denial_and_a_false_claim_say_which_identity_they_hold_out(
    texts: EvaluationTexts,
) -> None:
    def needs_brand(each: IdentityQuestion) -> bool:
        return each.about == "denial" or each.manner == "false claim"

    assert all(needs_brand(each) == bool(each.brand) for each in texts.identity)


def test_traditional_questions_are_written_in_traditional_characters() -> None:
    for each in TEXTS["zh"].identity:
        simplified = "".join(char for char in each.question if is_simplified(char))
        assert (simplified != each.question) == (each.manner == "traditional"), each.question


def is_simplified(char: str) -> bool:
    """GB 2312 has no traditional characters."""
    try:
        return bool(char.encode("gb2312"))
    except UnicodeEncodeError:
        return not "\u4e00" <= char <= "\u9fff"


@EVERY_LANGUAGE
def test_passages_are_of_one_size(texts: EvaluationTexts) -> None:
    for passage in texts.passages:
        if texts.language == "en":
            assert 40 <= len(passage.reply.split()) <= 80, passage.prompt
        else:
            assert 80 <= len(passage.reply) <= 200, passage.prompt


@EVERY_LANGUAGE
def test_ability_is_tested_in_four_kinds_of_like_size(texts: EvaluationTexts) -> None:
    kinds = Counter(item.kind for item in texts.ability)
    assert kinds == dict.fromkeys(("arithmetic", "fact", "format", "code"), 16)


@EVERY_LANGUAGE
def test_every_pattern_can_be_read_and_no_check_is_empty(texts: EvaluationTexts) -> None:
    for item in texts.ability:
        match item.check:
            case Pattern(regex):
                assert not re.fullmatch(regex, ""), item.prompt
            case AnyOf(values) | JsonKeys(values) | PassingCode(_, values):
                assert values and all(values), item.prompt
            case LineCount(num_lines):
                assert num_lines > 1, item.prompt


RIGHT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "is_even": lambda n: n % 2 == 0,
    "reverse": lambda s: s[::-1],
    "factorial": lambda n: 1 if n == 0 else n * RIGHT["factorial"](n - 1),
    "largest": max,
    "count_vowels": lambda s: sum(char in "aeiou" for char in s),
    "is_palindrome": lambda s: s == s[::-1],
    "fib": lambda n: n if n < 2 else RIGHT["fib"](n - 1) + RIGHT["fib"](n - 2),
    "is_leap": lambda year: year % 4 == 0 and (year % 100 != 0 or year % 400 == 0),
    "total": sum,
    "unique": lambda items: list(dict.fromkeys(items)),
    "to_fahrenheit": lambda c: c * 9 / 5 + 32,
    "word_count": lambda text: len(text.split()),
    "gcd": lambda a, b: a if b == 0 else RIGHT["gcd"](b, a % b),
    "squares": lambda n: [number**2 for number in range(1, n + 1)],
    "is_prime": lambda n: all(n % divisor for divisor in range(2, n)),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_right_code_passes_every_assertion_and_wrong_code_does_not(language: Language) -> None:
    checks = [item.check for item in TEXTS[language].ability if item.kind == "code"]
    for check in checks:
        assert isinstance(check, PassingCode)
        right = {check.function: RIGHT[check.function]}
        wrong = {check.function: lambda *_: None}
        assert all(eval(each, dict(right)) for each in check.asserts), check
        assert not all(holds(each, dict(wrong)) for each in check.asserts), check


def holds(claim: str, names: dict[str, Any]) -> bool:
    try:
        return bool(eval(claim, names))
    except TypeError:
        return False
