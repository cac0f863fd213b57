"""Whatever a model is made of, many rows at once are answered as generate answers each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pytest
import torch

from selfhood.engine.reading import RowReader, SingleReader, reader_of
from selfhood.engine.types import Reply, fold
from tests.parity.test_layouts import PACKED, PADDED, WINDOW, network
from tests.test_engine import ask, engine_of
from tests.tiny_training import tokenizer

ALL = {**PACKED, **PADDED}
QUESTIONS = ("Hi", "你叫什么名字？", "Tell me a story about a fox in the woods", "Tell me a joke")
NUM_TOKENS = 16


def answered(engine: Any, questions: Sequence[str]) -> list[Reply]:
    requests = ask(*questions, max_new_tokens=NUM_TOKENS)
    return fold(engine.stream(requests), len(requests))


def generated(engine: Any, question: str) -> tuple[int, ...]:
    (request,) = ask(question)
    prompt = engine.renderer.prompt(request.messages)
    ids = torch.tensor([tokenizer().encode(prompt, add_special_tokens=False)])
    assert ids.shape[1] > 2 * WINDOW
    with torch.no_grad():
        out = engine.loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NUM_TOKENS,
            pad_token_id=256,
        )
    said = out[0, ids.shape[1] :].tolist()  # goes on after an end mark that its config lacks
    return tuple(takewhile(lambda token: token not in engine.ends, said))


@pytest.mark.parametrize("name", ALL)
def test_rows_are_answered_as_generate_answers_each(name: str) -> None:
    engine = engine_of(network(*ALL[name]))
    expected = [generated(engine, question) for question in QUESTIONS]
    assert len(set(expected)) > 1
    assert [reply.ids for reply in answered(engine, QUESTIONS)] == expected
    again = [answered(engine, [question])[0].ids for question in QUESTIONS]
    assert again == expected, "what was kept of the first time has changed the answer"


@pytest.mark.parametrize("name", ALL)
def test_only_models_that_keep_keys_and_values_alone_are_read_in_one_pass(name: str) -> None:
    reader = reader_of(engine_of(network(*ALL[name])).loaded)
    has_own_way = name in PADDED or "capped" in name
    assert type(reader) is (SingleReader if has_own_way else RowReader)
