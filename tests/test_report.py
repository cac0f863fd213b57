"""report.html: one page that is whole in itself, says everything twice, and believes no reply."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from selfhood.chat import Message
from selfhood.evaluate.markup import escape, tag
from selfhood.evaluate.pictures import Bars, Curve, draw_bars, draw_chart, nice_top
from selfhood.evaluate.report import NUM_WORST, read_curves, to_html, write_report
from selfhood.evaluate.types import Judged, Measure, Probe, Scorecard, Verdict
from selfhood.run import Run

ATTACK = "</td></script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload=x"
EMPTY = {"meta", "link"}


def judged(reply: str, *, question: str = "你是谁？", why: str = "no name is said") -> Judged:
    return Judged(
        probe=Probe(
            id="name/zh/1",
            topic="name",
            language="zh",
            messages=(Message("user", question),),
            condition="maker",
            manner="prefill",
            turn=4,
            temperature=0.7,
        ),
        speaker="tuned",
        reply=reply,
        verdicts=(
            Verdict(measure="name_recall", is_good=False, why=why),
            Verdict(measure="swap_rate", is_good=True, why="nothing is exchanged"),
        ),
    )


NAME = Measure(
    name="name_recall", value=0.985, low=0.957, high=0.995, num=200, better="higher", base=0.01
)
KL = Measure(
    name="kl", value=0.0083, low=0.006, high=0.011, num=4213, better="lower", unit="nat/token"
)


def scorecard(
    *, measures: Sequence[Measure] = (NAME, KL), answers: Sequence[Judged] = (judged("我是谁？"),)
) -> Scorecard:
    return Scorecard(
        suite="quick",
        model="Qwen/Qwen2.5-0.5B",
        adapters=("output/v0/checkpoint-24",),
        measures=tuple(measures),
        judged=tuple(answers),
    )


class Page(HTMLParser):
    """Every element and every text of a page; an element that is never closed is an error."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


# What a reply may do.


def test_a_hostile_reply_is_only_ever_text() -> None:
    answer = judged(ATTACK, question=ATTACK, why=ATTACK)
    card = Scorecard(
        suite=ATTACK, model=ATTACK, adapters=(ATTACK,), measures=(NAME,), judged=(answer,)
    )
    page = Page(to_html(card, [Curve(name=ATTACK, points=((1, 0.5),))]))
    assert sum(name == "script" for name, _ in page.elements) == 1
    assert not any(name == "img" for name, _ in page.elements)
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert page.texts.count(ATTACK) >= 5


def test_characters_that_would_act_on_the_page_are_made_visible() -> None:
    assert escape("a\x00b\x1b[2J") == "a\ufffdb\ufffd[2J"
    assert escape("evil\u202etxt.exe") == "evil⟨U+202E⟩txt.exe"
    assert escape("half a pair \ud83d") == "half a pair \ufffd"
    assert escape("line\nbreak\t你好") == "line\nbreak\t你好"


def test_an_attribute_cannot_be_left() -> None:
    assert tag("td", title='"><script>') == '<td title="&quot;&gt;&lt;script&gt;"></td>'


def test_only_its_own_script_and_style_may_act() -> None:
    """Whatever else should get into the page, the browser does not run it."""
    page = to_html(scorecard())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src &#x27;none&#x27;" in policy
    for kind in ("script", "style"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src &#x27;sha256-{digest}&#x27;" in policy
    assert "style=" not in page.partition("<body>")[2].partition("<script>")[0]


def test_it_asks_no_other_address_for_anything() -> None:
    page = to_html(scorecard(), [Curve(name="kl", points=((1, 0.5),))])
    assert not re.search(r"https?://|url\(|@import|//[a-z]", page)
    for _, attributes in Page(page).elements:
        assert attributes.get("src") is None
        assert attributes.get("href") in (None, "data:,")


# What it says.


def test_everything_stands_in_both_languages() -> None:
    page = Page(to_html(scorecard(), [Curve(name="name", points=((1, 0.5),))]))
    zh = [e for e in page.elements if e[1].get("class") == "zh"]
    en = [e for e in page.elements if e[1].get("class") == "en"]
    assert len(zh) == len(en) > 20
    for said in ("身份成绩单", "Identity scorecard", "说对名字", "Name recall", "厂商默认"):
        assert said in page.text


def test_the_figures_stand_with_their_intervals_and_their_numbers() -> None:
    text = Page(to_html(scorecard())).text
    for said in ("98.5%", "95.7% – 99.5%", "1.0%", "200", "0.0083", "0.0060 – 0.0110", "4,213"):
        assert said in text


def test_a_measure_that_nobody_has_put_into_words_is_called_by_its_name() -> None:
    own = Measure(name="my_mmlu", value=0.4, low=0.3, high=0.5, num=9, better="higher")
    assert "my mmlu" in Page(to_html(scorecard(measures=[own]))).text


def test_a_bad_answer_stands_with_its_circumstances_and_the_reasons() -> None:
    text = Page(to_html(scorecard())).text
    for said in ("你是谁？", "我是谁？", "the maker's line", "prefill", "no name is said"):
        assert said in text
    assert re.search(r"turn\s+4", text)
    assert re.search(r"temperature\s+0\.7", text)
    assert "nothing is exchanged" not in text


def test_long_lists_and_long_replies_are_cut_and_say_so() -> None:
    answers = [judged("x" * 5000)] * (NUM_WORST + 7)
    page = to_html(scorecard(answers=answers))
    assert page.count('class="said"') == NUM_WORST
    assert f"{NUM_WORST} / {NUM_WORST + 7}" in page
    assert "x" * 1201 not in page


def test_without_any_fault_it_says_that() -> None:
    assert "No answer was found faulty" in to_html(scorecard(answers=[]))


def test_a_scorecard_of_nothing_is_still_a_page() -> None:
    assert "Identity scorecard" in Page(to_html(scorecard(measures=[], answers=[]))).text


def test_beside_each_picture_stands_a_table() -> None:
    page = Page(to_html(scorecard(), [Curve(name="kl", points=((8, 0.004),))]))
    pictures = [each for each in page.elements if each[1].get("role") == "img"]
    tables = [name for name, _ in page.elements if name == "table"]
    assert len(pictures) == 2
    assert len(tables) == 4  # before and after, during training, answers, measures
    assert all(attributes.get("aria-label") for _, attributes in pictures)
    assert all(
        attributes.get("scope") in ("col", "row")
        for name, attributes in page.elements
        if name == "th"
    )


def test_every_word_of_the_page_is_there_in_both_languages() -> None:
    text = files("selfhood.evaluate").joinpath("page", "words.toml").read_text(encoding="utf-8")
    for table in tomllib.loads(text).values():
        for key, entry in table.items():
            assert entry["zh"], key
            assert entry["en"], key
            assert ("about_zh" in entry) == ("about_en" in entry), key


# Pictures.


def test_bars_are_as_long_as_their_shares() -> None:
    drawn = draw_bars(Bars(tuned=0.5, low=0.4, high=0.6, base=0.25), label="half")
    assert 'width="500" height="10" class="tuned"' in drawn.replace('.0"', '"')
    assert 'width="250" height="10" class="base"' in drawn.replace('.0"', '"')
    assert 'x1="400"' in drawn and 'x1="600"' in drawn


def test_without_a_base_there_is_one_bar() -> None:
    assert 'class="base"' not in draw_bars(Bars(tuned=0.5, low=0.4, high=0.6), label="half")


def test_curves_keep_their_updates_in_order_and_their_values_in_the_chart() -> None:
    drawn = draw_chart([Curve(name="kl", points=((4, 0.0), (8, 9.9)))], top=1.0, label="kl")
    assert drawn.count("<circle") == 2
    assert 'd="M379' in drawn
    assert ",12" in drawn  # a value above the top is drawn at the top


@pytest.mark.parametrize(
    ("value", "top"), [(0.0121, 0.02), (0.005, 0.005), (1.0, 1.0), (0.21, 0.5), (37, 50)]
)
def test_a_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert nice_top(value) == pytest.approx(top)


# The run.


def test_what_was_probed_during_training_is_drawn(tmp_path: Path) -> None:
    lines = [{"update": 4, "name": 0.1, "kl": 0.001}, {"update": 8, "name": 1, "stop": "passed"}]
    content = "\n".join(json.dumps(line) for line in lines) + '\n{"update": 12, "na'
    (tmp_path / "probes.jsonl").write_text(content)
    assert read_curves(Run(tmp_path)) == (
        Curve(name="name", points=((4, 0.1), (8, 1.0))),
        Curve(name="kl", points=((4, 0.001),)),
    )
    page = write_report(scorecard(), tmp_path, run=Run(tmp_path)).read_text(encoding="utf-8")
    assert "During training" in page


def test_a_run_that_was_not_probed_has_no_such_picture(tmp_path: Path) -> None:
    path = write_report(scorecard(), tmp_path / "own.html", run=Run(tmp_path))
    assert path == tmp_path / "own.html"
    assert "During training" not in path.read_text(encoding="utf-8")


def test_the_same_scorecard_makes_the_same_page() -> None:
    assert to_html(scorecard()) == to_html(scorecard())
