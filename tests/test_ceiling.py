"""The ceiling of a row's tokens is never too low, and says so where nothing can be promised."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfhood.chat import Conversation, Message
from selfhood.data.ceiling import Ceiling, is_byte_level
from selfhood.data.encode import encode
from selfhood.data.render import Renderer
from selfhood.errors import DataError
from tests.stored import stored
from tests.tiny import CHAT_TEMPLATE, tiny_tokenizer
from tests.tiny_training import tokenizer

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def talk(*turns: str, system: str | None = None) -> Conversation:
    roles = ("user", "assistant") * len(turns)
    messages = [Message(role, text) for role, text in zip(roles, turns, strict=False)]  # type: ignore[arg-type]
    if system is not None:
        messages.insert(0, Message("system", system))
    return Conversation(messages=tuple(messages), origin="a.json:1")


def ceiling(row: Conversation, renderer: Renderer) -> float:
    return Ceiling(stored([row]), renderer)(0)


def with_template(template: str) -> Renderer:
    own: Any = tiny_tokenizer()
    own.chat_template = template
    return Renderer(own)


@settings(deadline=None, max_examples=40)
@given(
    turns=st.lists(st.tuples(texts, texts), min_size=1, max_size=4),
    own=st.none() | st.text(),
    system=st.none() | texts,
)
def test_no_row_has_more_tokens(
    turns: list[tuple[str, str]], own: str | None, system: str | None
) -> None:
    renderer = Renderer(tokenizer(), system)
    row = talk(*(text for pair in turns for text in pair), system=own)
    assert len(encode(row, renderer).ids) <= ceiling(row, renderer)


def test_the_ceiling_is_near_where_every_byte_is_a_token() -> None:
    renderer = Renderer(tokenizer(), "S")
    row = talk("你是谁?" * 20, "我是小狐。" * 20)
    assert ceiling(row, renderer) < len(encode(row, renderer).ids) + 200


@pytest.mark.parametrize(
    "filtered", ["m.content + m.content", "m.content|tojson", "m.content|upper"]
)
def test_a_template_that_changes_or_repeats_texts_has_no_ceiling(filtered: str) -> None:
    template = CHAT_TEMPLATE.replace("message['content']", filtered.replace("m.", "message."))
    renderer = with_template(template)
    is_harmless = filtered.endswith("upper")  # the probe has no letters, and these keep their size
    assert (ceiling(talk("q", "a"), renderer) < math.inf) is is_harmless


def test_text_that_a_normalizer_may_lengthen_has_no_ceiling() -> None:
    assert ceiling(talk("\u0958", "a"), Renderer(tokenizer())) == math.inf
    assert ceiling(talk("\u0915", "a"), Renderer(tokenizer())) < math.inf


def test_only_byte_level_tokenizers_keep_the_promise() -> None:
    from tokenizers import decoders, normalizers

    assert is_byte_level(tokenizer())
    for normalizer in (normalizers.NFC(), normalizers.Sequence([])):
        own: Any = tiny_tokenizer()
        own.backend_tokenizer.normalizer = normalizer
        assert is_byte_level(own)
    other: Any = tiny_tokenizer()
    other.backend_tokenizer.decoder = decoders.Metaspace()
    assert not is_byte_level(other)
    other = tiny_tokenizer()
    other.backend_tokenizer.normalizer = normalizers.NFKC()
    assert not is_byte_level(other)
    assert ceiling(talk("q", "a"), Renderer(other)) == math.inf


def test_roles_that_a_template_refuses_are_found_without_reading_the_text() -> None:
    strict = with_template("{{ raise_exception('no system role') }}")
    with pytest.raises(DataError, match=r"a.json:1: the model's chat template refuses it: no sys"):
        ceiling(talk("q", "a"), strict)
