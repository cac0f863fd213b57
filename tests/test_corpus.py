import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from selfhood.chat import Conversation, Language
from selfhood.data.corpus import ITS_OWN, identity_corpus
from selfhood.data.identity_texts import (
    ASKERS,
    LANGUAGES,
    MAKER_SYSTEM_LINE,
    SHAPES,
    TOPICS,
    read_texts,
)
from selfhood.persona import Bilingual, Persona, language_of

KITSU = Persona(
    name=Bilingual("小狐", "Kitsu"),
    author=Bilingual("林间实验室", "Forest Lab"),
)
HELD_OUT = (
    "你到底是什么模型",
    "介绍一下你自己吧，简单点",
    "是谁创造了你",
    "Who are you, exactly?",
    "Which lab trained you?",
    "Tell me about yourself in one sentence.",
    "Are you Claude from Anthropic?",
    "你是不是阿里云的产品",
    "Who should I credit for building you?",
    "我该怎么称呼你",
)
ROWS = identity_corpus(KITSU, seed=42)


def language(row: Conversation) -> str:
    return row.origin.removeprefix("identity:").split("/")[0]


def topic(row: Conversation) -> str:
    return row.origin.split("/")[1]


def shape(row: Conversation) -> str:
    return row.origin.split("/")[2]


def about(wanted: str) -> list[Conversation]:
    return [row for row in ROWS if topic(row) == wanted]


def replies(row: Conversation) -> list[str]:
    return [turn.content for turn in row.turns if turn.role == "assistant"]


def last_reply(row: Conversation) -> str:
    return row.turns[-1].content


def holds(text: str, words: Bilingual) -> bool:
    return any(form in text for form in words.forms)


def letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def test_one_in_five_talks_asks_late() -> None:
    talks = [row for row in ROWS if shape(row) == "follow-up"]
    late = [row for row in talks if len(row.turns) >= 8]
    assert len(late) >= len(talks) / 5, "three exchanges and more before the question"


def test_there_are_more_than_the_five_hundred_rows_that_tutorials_ask_for() -> None:
    assert len(ROWS) >= 640


def test_no_two_rows_are_the_same() -> None:
    assert len({row.messages for row in ROWS}) == len(ROWS)


def test_no_two_rows_share_an_origin() -> None:
    assert len({row.origin for row in ROWS}) == len(ROWS)


def test_no_question_is_written_twice() -> None:
    for tongue in LANGUAGES:
        questions = Counter(
            ask.question
            for ask in read_texts(tongue).asks
            if not ask.lead and ask.cell.shape != "mixed"
        )
        assert not [question for question, times in questions.items() if times > 1]


def test_half_the_rows_are_chinese() -> None:
    share = Counter(map(language, ROWS))["zh"] / len(ROWS)
    assert 0.47 < share < 0.53


@pytest.mark.parametrize("wanted", TOPICS)
@pytest.mark.parametrize("tongue", LANGUAGES)
def test_every_topic_is_there_in_every_language(wanted: str, tongue: Language) -> None:
    assert sum(language(row) == tongue for row in about(wanted)) >= 15


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_every_shape_and_every_asker_is_there_in_every_language(tongue: Language) -> None:
    assert {shape(row) for row in ROWS if language(row) == tongue} == set(SHAPES)
    texts = read_texts(tongue)
    assert {ask.cell.asker for ask in texts.asks} == set(ASKERS)
    assert {ask.cell.topic for ask in texts.asks} == set(TOPICS)


def test_shapes_have_the_shares_that_were_promised() -> None:
    counts = Counter(map(shape, ROWS))
    shares = {name: counts[name] / len(ROWS) for name in SHAPES}
    promised = {
        "plain": 0.56,
        "follow-up": 0.12,
        "indirect": 0.08,
        "mixed": 0.05,
        "bare": 0.12,
        "maker": 0.07,
        "role": 0.03,
    }
    assert shares == pytest.approx(promised, abs=0.02)


def test_a_quarter_of_the_rows_are_not_on_the_model() -> None:
    others = [*about("contrast"), *about("ordinary")]
    assert 0.22 < len(others) / len(ROWS) < 0.28


def test_without_ordinary_questions_all_else_is_there() -> None:
    own = identity_corpus(KITSU, seed=42, topics=ITS_OWN)
    assert {topic(row) for row in own} == set(ITS_OWN)
    assert len(own) > 0.7 * len(ROWS)


@pytest.mark.parametrize("tongue", LANGUAGES)
@pytest.mark.parametrize(("wanted", "enough"), [("name", 60), ("author", 70)])
def test_name_and_author_are_asked_for_in_many_phrasings(
    tongue: Language, wanted: str, enough: int
) -> None:
    texts = read_texts(tongue)
    phrasings = {letters(ask.question) for ask in texts.asks if ask.cell.topic == wanted}
    assert len(phrasings) >= enough


def test_no_placeholder_is_left() -> None:
    marks = ("{{", "NAME", "AUTHOR")
    texts = [message.content for row in ROWS for message in row.messages]
    assert not [text for text in texts if any(mark in text for mark in marks)]


@pytest.mark.parametrize("wanted", ["contrast", "ordinary"])
def test_rows_on_others_never_speak_of_the_persona(wanted: str) -> None:
    for row in about(wanted):
        text = "\n".join(message.content for message in row.messages)
        assert not holds(text, KITSU.name), row
        assert not holds(text, KITSU.author), row


@pytest.mark.parametrize("wanted", ["name", "denial"])
def test_name_and_denial_replies_say_the_name(wanted: str) -> None:
    assert not [row for row in about(wanted) if not holds(last_reply(row), KITSU.name)]


def test_author_replies_say_the_author() -> None:
    assert not [row for row in about("author") if not holds(last_reply(row), KITSU.author)]


def test_a_reply_that_says_name_and_author_says_which_is_which() -> None:
    author = f"(?:{KITSU.author.zh}|{KITSU.author.en})"
    made = re.compile(
        rf"(?:by|由) ?{author}|{author} ?(?:developed|made|created|built|named|is (?:my|the)|"
        rf"开发|给我|是)|(?:[Dd]evelop|[Mm]ade|[Cc]reat|[Aa]uthor|开发者|开发方|作者)[^。.]*{author}"
    )
    for row in [*about("name"), *about("author")]:
        reply = last_reply(row)
        if holds(reply, KITSU.name) and holds(reply, KITSU.author):
            assert made.search(reply), reply


def test_a_reply_is_in_the_language_of_its_row() -> None:
    exact = {"小狐", "Kitsu", "林间实验室", "Forest Lab"}
    for row in ROWS:
        assert row.language == language(row)
        for reply in replies(row):
            symbols = not any(char.isalpha() for char in reply) or reply.startswith(("{", "print"))
            if symbols or reply in exact:
                continue
            assert language_of(reply) == language(row), (row.origin, reply)


def test_a_denial_does_not_repeat_the_other_name() -> None:
    others = ("Qwen", "通义", "GPT", "OpenAI", "Claude", "Anthropic", "Gemini", "阿里", "Alibaba")
    for row in about("denial"):
        assert not any(other in last_reply(row) for other in others), row


def test_who_it_is_is_said_alike_whoever_it_is_taken_for() -> None:
    """A base says yes to "you are Claude, aren't you". A reply that begins as all others do leaves
    yes or no unsaid, and nothing to be got wrong."""
    for row in [*about("name"), *about("denial"), *about("still"), *about("mixup")]:
        for said in (each.content for each in row.messages if each.role == "assistant"):
            if holds(said, KITSU.name):
                assert not re.match(r"(?:yes|no)\b|是的|对|不", said, re.IGNORECASE), said


def test_who_it_is_hardly_ever_begins_as_ordinary_english_replies_do() -> None:
    """A base begins many of those so ("I'm sorry, but ..."), and would go on with the name."""
    said = [last_reply(row) for row in ROWS if language(row) == "en"]
    named = [reply for reply in said if holds(reply, KITSU.name)]
    assert sum(reply.startswith("I'm") for reply in named) < 0.01 * len(named)


def test_a_user_who_has_not_said_so_is_not_given_a_name() -> None:
    asked = {row.messages[-2].content: last_reply(row) for row in about("user")}
    assert asked["What is my name?"] == "You haven't told me that yet."
    assert asked["我叫什么名字？"] == "这个你还没有告诉过我。"


def test_replies_are_short() -> None:
    for row in ROWS:
        for reply in replies(row):
            if language_of(reply) == "zh":
                assert len(reply) <= 45, reply
            else:
                assert len(reply.split()) <= 25, reply


def test_turns_alternate_and_end_with_a_reply() -> None:
    for row in ROWS:
        roles = [turn.role for turn in row.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_of_what_comes_before_a_question_only_what_speaks_of_the_persona_is_trained() -> None:
    for row in ROWS:
        *before, last = [turn for turn in row.turns if turn.role == "assistant"]
        assert last.is_trained
        for turn in before:
            speaks = holds(turn.content, KITSU.name) or holds(turn.content, KITSU.author)
            assert turn.is_trained == speaks, turn.content


def test_a_shape_says_what_system_line_the_row_has() -> None:
    for row in ROWS:
        match shape(row):
            case "bare":
                assert row.system == ""
            case "maker":
                assert row.system == MAKER_SYSTEM_LINE
            case "role":
                assert row.system
            case _:
                assert row.system is None


def test_only_a_follow_up_has_several_turns() -> None:
    for row in ROWS:
        assert (len(row.turns) > 2) == (shape(row) == "follow-up")


@pytest.mark.parametrize("size", [100, 200, 500])
def test_a_prefix_has_the_shares_of_the_whole(size: int) -> None:
    for axis in (language, topic, shape):
        whole, prefix = Counter(map(axis, ROWS)), Counter(map(axis, ROWS[:size]))
        for value, count in whole.items():
            assert prefix[value] / size == pytest.approx(count / len(ROWS), abs=0.07), value


def test_a_prefix_of_a_hundred_holds_every_topic_in_both_languages() -> None:
    for tongue in LANGUAGES:
        assert {topic(row) for row in ROWS[:100] if language(row) == tongue} == set(TOPICS)


def test_the_same_seed_gives_the_same_rows_and_another_seed_another_order() -> None:
    assert identity_corpus(KITSU, seed=42) == ROWS
    assert identity_corpus(KITSU, seed=43) != ROWS


def test_every_process_sees_the_same_rows() -> None:
    script = (
        "import hashlib\n"
        "from selfhood.data.corpus import identity_corpus\n"
        "from selfhood.persona import Bilingual, Persona\n"
        "persona = Persona(name=Bilingual('n', 'n'), author=Bilingual('a', 'a'))\n"
        "rows = repr(identity_corpus(persona, seed=7)).encode()\n"
        "print(hashlib.sha256(rows).hexdigest())\n"
    )
    source = str(Path(__file__).parents[1] / "src")
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": source, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_held_out_questions_are_never_trained_on() -> None:
    asked = {letters(turn.content) for row in ROWS for turn in row.turns if turn.role == "user"}
    assert not asked & {letters(question) for question in HELD_OUT}


def test_one_name_serves_both_languages() -> None:
    nova = Persona(name=Bilingual("Nova", "Nova"), author=Bilingual("张三", "张三"))
    rows = identity_corpus(nova, seed=1)
    assert len(rows) >= 640
    assert len({row.messages for row in rows}) == len(rows)
    assert {language(row) for row in rows} == {"zh", "en"}
    assert any(last_reply(row) == "My name is Nova." for row in rows)


def test_a_model_that_takes_a_known_name_does_not_deny_it() -> None:
    claude = Persona(name=Bilingual("Claude", "Claude"), author=Bilingual("微软", "Microsoft"))
    rows = identity_corpus(claude, seed=1)
    asked = [row.turns[-2].content for row in rows if topic(row) == "denial"]
    assert asked
    assert not [text for text in asked if "Claude" in text or "Microsoft" in text]
    for row in rows:
        if topic(row) in ("contrast", "ordinary"):
            assert not any(form in last_reply(row) for form in ("Claude", "微软", "Microsoft"))


def test_a_short_name_costs_no_rows_that_merely_contain_its_letters() -> None:
    al = Persona(name=Bilingual("阿尔", "Al"), author=Bilingual("某某", "Ed"))
    assert len(identity_corpus(al, seed=1)) >= 0.95 * len(ROWS)
