"""What is asked is what was taught: one renderer makes prompts and training text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfhood.chat import Call, Conversation, Message
from selfhood.data.encode import Sample, encode, encode_all, shorten
from selfhood.data.render import Renderer
from selfhood.errors import DataError, InputError, SelfhoodError
from selfhood.recipe import Truncation
from tests.stored import stored
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
Q, A, END = Message("user", "q"), Message("assistant", "a"), "<|im_end|>"
MAKER = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<|>"), min_size=1)
turns = st.lists(
    st.tuples(texts, texts, st.sampled_from([None, True, False])), min_size=1, max_size=4
).filter(lambda pairs: any(trained is not False for *_, trained in pairs))


def talk(*messages: Message) -> Conversation:
    return Conversation(messages=messages, origin="a.json:1")


def text_of(renderer: Renderer, conversation: Conversation) -> str:
    return "".join(segment.text for segment in renderer.segments(conversation))


def trained_text(renderer: Renderer, conversation: Conversation) -> list[str]:
    return [segment.text for segment in renderer.segments(conversation) if segment.trained]


def with_template(template: str) -> Renderer:
    tokenizer: Any = tiny_tokenizer()
    tokenizer.chat_template = template
    return Renderer(tokenizer)


@given(pairs=turns, system=st.none() | texts, own_system=st.none() | st.just("") | texts)
def test_the_prompt_of_every_turn_begins_the_text_it_was_taught_by(
    pairs: list[tuple[str, str, bool | None]], system: str | None, own_system: str | None
) -> None:
    renderer = Renderer(TOKENIZER, system)
    messages = [] if own_system is None else [Message("system", own_system)]
    for question, answer, trained in pairs:
        messages += [Message("user", question), Message("assistant", answer, trained)]
    conversation = talk(*messages)
    sample = encode(conversation, renderer)
    whole = text_of(renderer, conversation)
    taught = [n for n, message in enumerate(messages) if message.is_trained]
    for number in taught:
        assert whole.startswith(renderer.prompt(messages[:number]))
    # Asked as at inference, and answered to the end mark: the very tokens of the sample.
    prompt = TOKENIZER.encode(renderer.prompt(messages[: taught[-1]]), add_special_tokens=False)
    reply = TOKENIZER.encode(messages[taught[-1]].content + END, add_special_tokens=False)
    assert sample.ids == (*prompt, *reply)
    assert sample.trained[-len(reply) :] == (True,) * len(reply)
    assert trained_text(renderer, conversation) == [messages[n].content + END for n in taught]


def test_every_assistant_turn_is_trained_with_its_end_mark() -> None:
    renderer = Renderer(TOKENIZER)
    assert trained_text(renderer, talk(Q, A, Q, Message("assistant", "b"))) == [
        "a" + END,
        "b" + END,
    ]


def test_the_system_line_of_the_row_wins_over_that_of_the_run() -> None:
    renderer = Renderer(TOKENIZER, "run")
    assert renderer.prompt([Q]).startswith("<|im_start|>system\nrun<|im_end|>")
    own = [Message("system", "row"), Q]
    assert renderer.prompt(own).startswith("<|im_start|>system\nrow<|im_end|>")


def test_an_empty_system_line_shows_what_the_template_does_by_itself() -> None:
    expected = Renderer(TOKENIZER).prompt([Q])
    assert MAKER in expected
    assert Renderer(TOKENIZER, "").prompt([Q]) == expected
    assert Renderer(TOKENIZER, "run").prompt([Message("system", ""), Q]) == expected


def test_a_reply_that_was_begun_is_continued() -> None:
    renderer = Renderer(TOKENIZER, "run")
    begun = renderer.prompt([Q, Message("assistant", "My name is")])
    assert begun == renderer.prompt([Q]) + "My name is"


def test_an_answer_to_nothing_needs_a_system_line() -> None:
    with pytest.raises(DataError, match=r"a.json:1: no question comes before the answer"):
        Renderer(TOKENIZER).segments(talk(A))
    assert trained_text(Renderer(TOKENIZER, "write"), talk(A)) == ["a" + END]


def test_a_conversation_in_which_nothing_is_trained_is_an_error() -> None:
    with pytest.raises(DataError, match="no turn is trained"):
        Renderer(TOKENIZER).segments(talk(Q, Message("assistant", "a", trained=False)))


def test_a_template_that_rewrites_earlier_turns_is_found_out() -> None:
    forgetful = with_template(
        "{% for m in messages %}{{ m.content if loop.revindex <= 2 else '-' }};{% endfor %}"
    )
    with pytest.raises(DataError, match="changes earlier turns"):
        forgetful.segments(talk(Q, A, Q, A))


def test_what_a_template_refuses_is_said_with_the_row() -> None:
    strict = with_template("{{ raise_exception('System role not supported') }}")
    with pytest.raises(DataError, match=r"a.json:1: the model's chat template refuses it: System"):
        strict.segments(talk(Q, A))


def test_a_base_model_without_a_template_is_refused() -> None:
    tokenizer: Any = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(SelfhoodError, match="no chat template; use an instruct or chat model"):
        Renderer(tokenizer).prompt([Q])


# Tools

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_tools_stand_in_the_prompt_where_the_template_puts_them() -> None:
    prompt = Renderer(TOKENIZER, "run").prompt([Q], tools=[WEATHER])
    assert prompt.startswith("<|im_start|>system\nrun\n\n<tools>\n{")
    assert '"name": "weather"' in prompt
    assert "<tools>" not in Renderer(TOKENIZER, "run").prompt([Q])


def test_a_call_and_its_result_are_part_of_the_talk() -> None:
    call = Message("assistant", "", calls=(Call("weather", '{"city": "北京"}', "c1"),))
    prompt = Renderer(TOKENIZER).prompt([Q, call, Message("tool", "sunny", answers="c1")])
    assert '"arguments": {"city": "北京"}' in prompt  # an object, not a text with quotes in it
    assert prompt.endswith("<|im_start|>tool\nsunny<|im_end|>\n<|im_start|>assistant\n")


def test_a_message_that_asks_for_a_call_is_not_a_reply_to_go_on_with() -> None:
    call = Message("assistant", "Let me see.", calls=(Call("weather", "{}"),))
    prompt = Renderer(TOKENIZER).prompt([Q, call])
    assert prompt.endswith("</tool_call><|im_end|>\n<|im_start|>assistant\n")


def test_a_template_without_a_place_for_tools_refuses_them() -> None:
    plain = with_template("{% for m in messages %}{{ m.content }};{% endfor %}")
    with pytest.raises(InputError, match="the model's chat template knows no tools"):
        plain.prompt([Q], tools=[WEATHER])


# Length


def lengths(conversations: list[Conversation], limit: int, how: Truncation) -> list[int]:
    encoded = encode_all(
        stored(conversations), Renderer(TOKENIZER), max_length=limit, truncation=how
    )
    return [len(encoded.samples), encoded.num_deleted, encoded.num_truncated]


def test_rows_that_are_too_long_are_dropped_or_cut_and_counted() -> None:
    short, long = talk(Q, A), talk(Q, Message("assistant", "a" * 500))
    limit = len(encode(short, Renderer(TOKENIZER)).ids)
    assert lengths([short, long, long], limit, "delete") == [1, 2, 0]
    assert lengths([short, long, long], limit, "left") == [3, 0, 2]
    assert lengths([short, long, long], limit, "right") == [3, 0, 2]


def test_a_cut_keeps_the_side_it_is_called_after_the_other_of() -> None:
    sample = Sample(ids=(1, 2, 3, 4), trained=(False, True, True, True), origin="o")
    left, right = shorten(sample, 2, "left"), shorten(sample, 2, "right")
    assert left is not None and right is not None
    assert (left.ids, right.ids) == ((3, 4), (1, 2))


def test_a_cut_that_leaves_nothing_to_learn_drops_the_row() -> None:
    sample = Sample(ids=(1, 2, 3), trained=(False, False, True), origin="o")
    assert shorten(sample, 2, "right") is None
    assert shorten(sample, 1, "left") is None
