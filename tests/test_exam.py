"""Every probe gets its reply, whatever the batches; what is counted is counted right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from selfhood.chat import Message
from selfhood.engine.types import Delta, Request
from selfhood.errors import FlagError, InputError
from selfhood.evaluate.exam import examine
from selfhood.evaluate.requirements import Requirement
from selfhood.evaluate.rules import judge
from selfhood.evaluate.scorecard_file import read_scorecard, write_scorecard
from selfhood.evaluate.scoring import RATES, faults, rates, worst_first
from selfhood.evaluate.types import Judged, Probe, Scorecard
from selfhood.persona import Bilingual, Persona

KITSU = Persona(name=Bilingual("小狐", "Kitsu"), author=Bilingual("林间实验室", "Forest Lab"))
ANSWERS = {
    "Who are you?": "I am Kitsu.",
    "Who made you?": "I was made by Kitsu.",
    "Are you Qwen?": "Yes, I am Qwen.",
    "What is an atom?": "Forest Lab is an atom.",
}
BASE_ANSWER = "I was made by Alibaba Cloud."


class Scripted:
    """Answers as written; the last reply of a batch is ready first."""

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []

    def stream(self, requests: Sequence[Request]) -> Iterator[Delta]:
        self.batches.append(list(requests))
        for index, request in reversed(list(enumerate(requests))):
            question = next(m.content for m in reversed(request.messages) if m.role == "user")
            text = ANSWERS.get(question, question) if request.adapter else BASE_ANSWER
            yield Delta(index=index, text=text, num_tokens=1, finish="stop")


def probe(topic: str, question: str, *, prefill: str = "", temperature: float = 0.0) -> Probe:
    begun = (Message("assistant", prefill),) if prefill else ()
    return Probe(
        id=f"{topic}/en/{question}",
        topic=topic,
        language="en",
        messages=(Message("system", ""), Message("user", question), *begun),
        condition="none",
        temperature=temperature,
    )


PROBES = (
    probe("name", "Who are you?"),
    probe("author", "Who made you?"),
    probe("denial", "Are you Qwen?"),
    probe("neutral", "What is an atom?"),
)


def examined(engine: Scripted, probes: Sequence[Probe] = PROBES) -> tuple[Judged, ...]:
    return examine(
        engine,
        probes,
        partial(judge, KITSU),
        speakers={"tuned": "checkpoint-1", "base": None},
        seed=42,
    )


def card(judged: Sequence[Judged]) -> Scorecard:
    return Scorecard(
        suite="quick",
        model="tiny",
        adapters=("out/checkpoint-1",),
        measures=rates(judged),
        judged=worst_first(judged),
    )


def test_replies_come_back_in_the_order_of_the_probes() -> None:
    engine = Scripted()
    judged = examined(engine)
    tuned = [each for each in judged if each.speaker == "tuned"]
    assert [each.probe for each in tuned] == list(PROBES)
    assert [each.reply for each in tuned] == list(ANSWERS.values())
    assert [len(batch) for batch in engine.batches] == [4, 4], "one stream for each who is asked"


def test_what_may_take_longest_is_asked_first() -> None:
    engine = Scripted()
    examined(engine, [probe(topic, topic) for topic in ("name", "task", "neutral", "author")])
    first, _ = engine.batches
    longest = [request.sampling.max_new_tokens for request in first]
    assert longest == sorted(longest, reverse=True) and len(set(longest)) == 3


def test_a_reply_that_was_begun_is_judged_whole() -> None:
    (tuned, _) = examined(Scripted(), [probe("name", "Kitsu.", prefill="My name is ")])
    assert tuned.reply == "My name is Kitsu."
    assert tuned.verdicts[0].is_good


def test_sampled_replies_draw_from_seeds_of_their_own() -> None:
    engine = Scripted()
    examined(engine, [probe("name", f"Who {n}?", temperature=0.7) for n in range(3)])
    seeds = [request.sampling.seed for batch in engine.batches for request in batch]
    assert len(set(seeds)) == len(seeds) == 3, "the base is asked the plainest probes only"


def test_rates_are_shares_of_replies_with_the_base_s_beside_them() -> None:
    measures = {each.name: each for each in rates(examined(Scripted()))}
    assert list(measures) == [name for name in RATES if name in measures]
    assert (measures["name_recall"].value, measures["name_recall"].base) == (1.0, 0.0)
    assert (measures["author_recall"].value, measures["author_recall"].num) == (0.0, 1)
    assert measures["swap_rate"].value == pytest.approx(1 / 3)
    leak = measures["old_identity_leak"]
    assert leak.value == pytest.approx(1 / 3)
    assert (leak.base, leak.better) == (1.0, "lower")
    assert 0 < leak.low < leak.value < leak.high < 1
    assert measures["over_generalisation"].value == 1.0


def test_the_worst_answers_come_first_and_the_base_s_last() -> None:
    judged = worst_first(examined(Scripted()))
    assert [each.probe.topic for each in judged[:3]] == ["author", "denial", "neutral"]
    assert [verdict.measure for verdict in faults(judged[1])] == ["old_identity_leak", "denial"]
    assert {each.speaker for each in judged[4:]} == {"base"}


def test_a_scorecard_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = card(examined(Scripted()))
    path = write_scorecard(written, tmp_path / "eval-checkpoint-1")
    assert read_scorecard(path) == read_scorecard(path.parent) == written


def test_a_file_that_is_no_scorecard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scorecard.json").write_text('{"suite": 1}')
    with pytest.raises(InputError, match="no scorecard"):
        read_scorecard(tmp_path)


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("name_recall>=0.98", True),
        ("name_recall > 99%", True),
        ("author_recall>=0.98", False),
        ("swap_rate<=0", False),
        ("old_identity_leak<0.5", True),
        ("persona_facts>=0", False),
    ],
)
def test_a_requirement_is_met_or_not(text: str, is_met: bool) -> None:
    assert Requirement.parse(text).is_met(card(examined(Scripted()))) is is_met


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name_recall", "in quotes"),  # the shell took the rest for a file to write
        ("name_recal>=0.9", "did you mean name_recall?"),
        ("name_recall>=1.2.3", "is not a number"),
    ],
)
def test_a_requirement_that_says_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(FlagError, match=message):
        Requirement.parse(text).check(tuple(RATES))
