import re
from collections import Counter

import pytest

from bench.held_out import QUESTIONS
from selfhood.chat import Language
from selfhood.data.anchor_prompts import (
    AnchorPrompt,
    anchor_prompts,
    on_makers,
    read_anchor,
    words_of,
)
from selfhood.data.identity_texts import LANGUAGES, read_texts
from selfhood.persona import Bilingual, Persona, language_of

KITSU = Persona(
    name=Bilingual("小狐", "Kitsu"),
    author=Bilingual("林间实验室", "Forest Lab"),
)
PROMPTS = anchor_prompts(KITSU, seed=42)
NEAR = (
    "vendor", "ai", "company", "creators", "labs", "software", "naming", "nature", "others", "role",
)  # fmt: skip


def letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def singles(tongue: Language) -> list[str]:
    return [each.text for each in read_anchor(tongue) if len(each.messages) == 1]


def questions(tongue: Language) -> list[str]:
    return [*singles(tongue), *(each.text for each in on_makers(tongue))]


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_there_are_enough_prompts_in_every_language(tongue: Language) -> None:
    assert len(singles(tongue)) >= 320
    talks = [each for each in read_anchor(tongue) if len(each.messages) > 1]
    assert len(talks) >= 40
    assert sum("{{" in talk.text for talk in talks) >= 20


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_most_prompts_lie_near_the_persona(tongue: Language) -> None:
    prompts = read_anchor(tongue)
    assert sum(prompt.topic in NEAR for prompt in prompts) > len(prompts) / 2


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_no_prompt_is_written_twice(tongue: Language) -> None:
    seen = Counter(letters(prompt) for prompt in questions(tongue))
    assert not [prompt for prompt, times in seen.items() if times > 1]


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_no_prompt_is_a_question_of_the_identity_corpus(tongue: Language) -> None:
    asked = {letters(ask.question) for ask in read_texts(tongue).asks if not ask.lead}
    assert not [prompt for prompt in questions(tongue) if letters(prompt) in asked]


def test_no_prompt_is_a_question_that_the_bench_holds_out() -> None:
    held_out = {letters(question) for question in QUESTIONS}
    said = {letters(prompt.messages[-1].content) for prompt in PROMPTS}
    assert sorted(said & held_out) == []


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_no_wording_is_worn_out(tongue: Language) -> None:
    """No more than a few prompts begin and end alike, with one word between swapped."""
    frames = Counter(
        (letters(prompt)[:12], letters(prompt)[-6:])
        if tongue == "en"
        else (prompt[:3], prompt[-4:])
        for prompt in singles(tongue)
    )
    assert max(frames.values()) <= 4, frames.most_common(3)


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_prompts_are_short(tongue: Language) -> None:
    for prompt in singles(tongue):
        assert len(prompt) <= (60 if tongue == "zh" else 100), prompt


def test_a_prompt_ends_with_the_user_and_the_turns_alternate() -> None:
    for prompt in PROMPTS:
        roles = [message.role for message in prompt.messages if message.role != "system"]
        assert roles == [*["user", "assistant"] * (len(roles) // 2), "user"], prompt


def test_most_of_what_is_said_is_in_the_language_of_its_prompt() -> None:
    alike = [language_of(prompt.messages[-1].content) == prompt.language for prompt in PROMPTS]
    assert sum(alike) >= 0.98 * len(alike)


def test_the_persona_stands_where_the_placeholders_were() -> None:
    assert not [prompt for prompt in PROMPTS if "{{" in prompt.text]
    after = [prompt for prompt in PROMPTS if prompt.topic == "after"]
    for prompt in after:
        words = (KITSU.name, KITSU.author)
        assert any(each.in_language(prompt.language) in prompt.text for each in words), prompt


def test_only_replies_already_given_name_the_persona() -> None:
    own = re.compile("小狐|Kitsu|林间实验室|Forest Lab")
    asked = [each for prompt in PROMPTS for each in prompt.messages if each.role != "assistant"]
    assert not [message for message in asked if own.search(message.content)]


def test_without_a_persona_there_is_nothing_to_fill_in() -> None:
    prompts = anchor_prompts(None, seed=42)
    of_the_persona = {"after", "words"}
    assert {prompt.topic for prompt in prompts} == {each.topic for each in PROMPTS} - of_the_persona
    assert not [prompt for prompt in prompts if "{{" in prompt.text]


def test_what_the_names_are_made_of_stays_what_it_means() -> None:
    asked = {each.text for each in PROMPTS if each.topic == "words"}
    assert {"用“狐”字组三个词。", "用“林间”造一个句子。"} <= asked
    assert {"What does the word 'lab' mean?", "What does the word 'kitsu' mean?"} <= asked
    assert not [text for text in asked if "小狐" in text or "Kitsu" in text]


def test_who_made_an_assistant_is_asked_of_each_in_every_wording() -> None:
    asked = {each.text for each in PROMPTS if each.topic == "ai"}
    assert {
        "Kimi是谁做的？",
        "是谁开发了豆包？",
        "Who made Kimi?",
        "Who is behind Claude?",
    } <= asked


def test_a_model_that_takes_an_assistant_s_name_is_not_asked_who_made_that_one() -> None:
    kimi = Persona(name=Bilingual("Kimi", "Kimi"), author=Bilingual("月之暗面", "Moonshot AI"))
    asked = {each.text for each in anchor_prompts(kimi, seed=42)}
    assert "Who made Claude?" in asked and "Who made Kimi?" not in asked


def test_a_name_as_it_is_written_is_no_word_to_ask_about() -> None:
    assert words_of("林间实验室") == ["林间"] and words_of("Forest Lab") == ["forest", "lab"]
    assert words_of("小狐") == [] and words_of("Kitsu") == ["kitsu"] and words_of("kitsu") == []


def test_a_model_that_takes_a_known_name_is_not_anchored_on_questions_about_it() -> None:
    claude = Persona(name=Bilingual("Claude", "Claude"), author=Bilingual("微软", "Microsoft"))
    prompts = anchor_prompts(claude, seed=1)
    assert len(prompts) > 0.95 * len(PROMPTS)
    for message in (each for prompt in prompts for each in prompt.messages if each.role == "user"):
        assert not re.search("Claude|Microsoft|微软", message.content), message


@pytest.mark.parametrize("size", [50, 100, 200])
def test_a_prefix_has_the_shares_of_the_whole(size: int) -> None:
    def axes(prompt: AnchorPrompt) -> tuple[str, str]:
        return prompt.language, prompt.topic

    for place in (0, 1):
        whole = Counter(axes(prompt)[place] for prompt in PROMPTS)
        prefix = Counter(axes(prompt)[place] for prompt in PROMPTS[:size])
        for value, count in whole.items():
            assert prefix[value] / size == pytest.approx(count / len(PROMPTS), abs=0.06), value


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    assert anchor_prompts(KITSU, seed=42) == PROMPTS
    assert anchor_prompts(KITSU, seed=43) != PROMPTS
