"""The tables of the page: what a picture shows, in figures."""

from __future__ import annotations

from collections.abc import Sequence

from selfhood.evaluate.markup import Markup, tag
from selfhood.evaluate.pictures import Curve
from selfhood.evaluate.types import Measure
from selfhood.evaluate.wording import about, figure, interval, say, with_unit


def folded(table: Markup) -> Markup:
    return tag("details", tag("summary", say("as_table")), tag("div", table, class_="scroll"))


def measure_table(measures: Sequence[Measure]) -> Markup:
    head = columns("measure", "value", "interval", "base", "num", "meaning")
    rows = [
        tag(
            "tr",
            tag("th", say(each.name, "measures"), scope="row"),
            tag("td", with_unit(each.value, each.unit), class_="number"),
            tag("td", interval(each), class_="number"),
            tag("td", "–" if each.base is None else figure(each.base, each.unit), class_="number"),
            tag("td", f"{each.num:,}", class_="number"),
            tag("td", about(each), " (", say(each.better), ")"),
        )
        for each in measures
    ]
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll")


def curve_table(curves: Sequence[Curve]) -> Markup:
    names = [tag("th", say(curve.name, "measures"), scope="col") for curve in curves]
    head = tag("thead", tag("tr", tag("th", say("update"), scope="col"), *names))
    values = [dict(curve.points) for curve in curves]
    rows = []
    for update in sorted({update for points in values for update in points}):
        cells = [f"{points[update]:.4g}" if update in points else "–" for points in values]
        numbers = [tag("td", cell, class_="number") for cell in cells]
        rows.append(tag("tr", tag("th", str(update), scope="row"), *numbers))
    return tag("table", head, tag("tbody", *rows))


def columns(*keys: str) -> Markup:
    return tag("thead", tag("tr", *(tag("th", say(key), scope="col") for key in keys)))
