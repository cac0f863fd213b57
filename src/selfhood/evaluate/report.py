"""A scorecard as one page to look at and to pass on: report.html.

    headline    the figures that decide
    pictures    before and after; during training, where the run tells      each with its table
    answers     the worst first, with the rules' reasons
    measures    what was measured, on how many

The page is whole in itself: no address in it is ever asked for anything, and it says so to the
browser (a content security policy that names its one style and one script by hash). Both languages
are in it; the browser's decides, and a button. It reads in light and in dark, on paper and aloud.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfhood.evaluate.markup import Markup, join, tag
from selfhood.evaluate.pictures import Bars, Curve, draw_bars, draw_chart, nice_top
from selfhood.evaluate.tables import columns, curve_table, folded, measure_table
from selfhood.evaluate.types import Judged, Measure, Scorecard
from selfhood.evaluate.wording import figure, has_words, interval, resource, say, word
from selfhood.files import write_atomic
from selfhood.run import Run
from selfhood.version import VERSION

FILE = "report.html"
PROBES = "probes.jsonl"
HEADLINE = (
    "name_recall", "author_recall", "old_identity_leak", "over_generalisation", "kl",
    "ability_change",
)  # fmt: skip
NUM_WORST = 100
LONGEST_REPLY = 1200  # characters
NUM_COLOURS = 8


def write_report(scorecard: Scorecard, path: Path, *, run: Run | None = None) -> Path:
    """Writes the page; ``path`` is its file or the folder for it. ``run`` is where the model was
    trained: what was probed meanwhile is drawn too."""
    file = path / FILE if path.is_dir() else path
    write_atomic(file, to_html(scorecard, () if run is None else read_curves(run)))
    return file


def to_html(scorecard: Scorecard, curves: Sequence[Curve] = ()) -> str:
    body = join(
        _header(scorecard),
        tag(
            "main",
            _headline(scorecard),
            _before_and_after(scorecard),
            _drift(curves),
            _worst(scorecard),
            _measured(scorecard),
        ),
        tag("footer", tag("p", say("footer")), tag("p", f"selfhood {VERSION}")),
    )
    return f"<!doctype html>\n{_page(body)}\n"


def read_curves(run: Run) -> tuple[Curve, ...]:
    """What was probed during training, from its ``probes.jsonl``; none where nothing was."""
    file = run.path / PROBES
    points: dict[str, list[tuple[int, float]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue  # a run that was killed may have been cut in a line
        for name, value in values.items():
            if name != "update" and type(value) in (int, float):
                points.setdefault(name, []).append((int(values["update"]), float(value)))
    return tuple(Curve(name=name, points=tuple(found)) for name, found in points.items())


# The page.


def _page(body: Markup) -> Markup:
    style, script = resource("style.css"), resource("script.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{word('page', 'title', 'zh')} · {word('page', 'title', 'en')}"),
        tag("style", Markup(style)),
    )
    whole = tag("body", body, tag("script", Markup(script)))
    return tag("html", head, whole, lang="en", data_lang="en")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


# Parts of the page.


def _header(scorecard: Scorecard) -> Markup:
    told = [each for each in scorecard.judged if each.speaker == "tuned"]
    given = [
        ("model", scorecard.model),
        ("adapters", ", ".join(scorecard.adapters)),
        ("suite", scorecard.suite),
        ("asked", f"{len(told):,}"),
        ("faulty", f"{sum(not each.is_good for each in told):,}"),
    ]
    pairs = [tag("div", tag("dt", say(key)), tag("dd", value)) for key, value in given if value]
    return tag(
        "header",
        tag("h1", say("title")),
        tag("button", say("switch"), id="switch", type="button"),
        tag("dl", *pairs, class_="given"),
    )


def _headline(scorecard: Scorecard) -> Markup:
    found = {measure.name: measure for measure in scorecard.measures}
    tiles = [_tile(found[name]) for name in HEADLINE if name in found]
    return tag("ul", *tiles, class_="tiles") if tiles else Markup()


def _tile(measure: Measure) -> Markup:
    unit = tag("small", " ", say(measure.unit, "units")) if measure.unit else Markup()
    return tag(
        "li",
        tag("div", say(measure.name, "measures"), class_="what"),
        tag("strong", figure(measure.value, measure.unit), unit),
        tag("div", interval(measure), class_="was"),
        _was(measure),
    )


def _was(measure: Measure) -> Markup:
    if measure.base is None:
        return Markup()
    return tag("div", say("base"), " ", figure(measure.base, measure.unit), class_="was")


def _before_and_after(scorecard: Scorecard) -> Markup:
    shares = [measure for measure in scorecard.measures if measure.unit == ""]
    if not shares:
        return Markup()
    return _section(
        "before_after",
        _key(("base", "base"), ("tuned", "tuned")),
        tag("div", *(piece for measure in shares for piece in _pair(measure)), class_="pairs"),
        folded(measure_table(shares)),
    )


def _pair(measure: Measure) -> Iterator[Markup]:
    arrow = "↑" if measure.better == "higher" else "↓"
    yield tag(
        "div", say(measure.name, "measures"), tag("span", arrow, class_="way", aria_hidden="true")
    )
    bars = Bars(tuned=measure.value, low=measure.low, high=measure.high, base=measure.base)
    name = f"{word('measures', measure.name, 'zh')} {word('measures', measure.name, 'en')}"
    yield draw_bars(bars, label=f"{name}: {figure(measure.value, '')} ({interval(measure)})")
    before = (
        [tag("span", figure(measure.base, ""), " → ", class_="was")]
        if measure.base is not None
        else []
    )
    yield tag("div", *before, tag("b", figure(measure.value, "")), class_="figure")


def _drift(curves: Sequence[Curve]) -> Markup:
    if not curves:
        return Markup()
    shares = [curve for curve in curves if curve.name != "kl"][:NUM_COLOURS]
    apart = [curve for curve in curves if curve.name == "kl"]
    charts = []
    for group, top in ((shares, 1.0), (apart, nice_top(_highest(apart)))):
        if group:
            names = [word("measures", curve.name, "en") for curve in group]
            chart = draw_chart(group, top=top, label=", ".join(names))
            swatches = [(curve.name, f"swatch c{n}") for n, curve in enumerate(group)]
            charts += [
                _key(*swatches, table="measures"),
                tag("div", chart, class_="scroll", tabindex="0"),
            ]
    return _section("drift", *charts, folded(curve_table(curves)))


def _highest(curves: Sequence[Curve]) -> float:
    return max((value for curve in curves for _, value in curve.points), default=0.0) or 1.0


def _worst(scorecard: Scorecard) -> Markup:
    faulty = [each for each in scorecard.judged if each.speaker == "tuned" and not each.is_good]
    if not faulty:
        return _section("worst", tag("p", say("none_wrong")))
    shown = faulty[:NUM_WORST]
    count = tag("p", say("shown"), f" {len(shown):,} / {len(faulty):,}", class_="about")
    head = columns("question", "circumstances", "reply", "why")
    rows = [_answer(each) for each in shown]
    return _section("worst", count, tag("table", head, tag("tbody", *rows), class_="answers"))


def _answer(judged: Judged) -> Markup:
    probe = judged.probe
    faults = [
        tag("li", tag("b", say(verdict.measure, "measures")), verdict.why)
        for verdict in judged.verdicts
        if not verdict.is_good
    ]
    reply = judged.reply
    if len(reply) > LONGEST_REPLY:
        reply = f"{reply[:LONGEST_REPLY]} …"
    return tag(
        "tr",
        tag("td", probe.question, tag("small", probe.id), class_="asked", dir="auto"),
        tag("td", _circumstances(judged), class_="around"),
        tag("td", reply, class_="said", dir="auto"),
        tag("td", tag("ul", *faults, class_="faults")),
    )


def _circumstances(judged: Judged) -> Markup:
    probe = judged.probe
    pieces = [say(probe.condition, "conditions")]
    if probe.turn > 1:
        pieces.append(join(say("turn"), f" {probe.turn}"))
    if probe.manner != "plain":
        pieces.append(say(probe.manner, "manners"))
    if probe.thinking is not None:
        pieces.append(say("thinking" if probe.thinking else "not_thinking"))
    if probe.temperature:
        pieces.append(join(say("temperature"), f" {probe.temperature:g}"))
    return join(pieces[0], *(join(" · ", piece) for piece in pieces[1:]))


def _measured(scorecard: Scorecard) -> Markup:
    return _section("measured", measure_table(scorecard.measures))


# Pieces of a section.


def _section(key: str, *children: Markup) -> Markup:
    note = f"{key}_about"
    told = [tag("p", say(note), class_="about")] if has_words(note) else []
    return tag("section", tag("h2", say(key)), *told, *children, aria_label=word("page", key, "en"))


def _key(*entries: tuple[str, str], table: str = "page") -> Markup:
    """What the colours mean: (word, class of the colour)."""
    swatches = [
        tag(
            "li",
            tag("svg", _swatch(class_), viewBox="0 0 11 7", aria_hidden="true"),
            say(key, table),
        )
        for key, class_ in entries
    ]
    return tag("ul", *swatches, class_="key")


def _swatch(class_: str) -> Markup:
    return tag("rect", width=11, height=7, rx=2, class_=class_)
