"""Pictures as inline SVG: a pair of bars, a chart of curves. Colours and fonts are the page's.

    pair of bars    base ▬▬▬▬▬▬▬▬     tuned ▬▬▬├─┤      the whisker is the 95% interval
    chart           one line a measure over the updates of a training

Text that needs a language is not in here; it stands beside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfhood.evaluate.markup import Markup, join, tag

BAR_WIDTH, BAR_HEIGHT = 1000.0, 32.0
CHART_WIDTH, CHART_HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720.0, 260.0, 52.0, 30.0, 12.0, 14.0
NUM_TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Shares of the whole width, 0 to 1; the interval is that of ``tuned``."""

    tuned: float
    low: float
    high: float
    base: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One measure at some updates, in their order."""

    name: str
    points: tuple[tuple[int, float], ...]


def draw_bars(bars: Bars, *, label: str) -> Markup:
    """Stretches with its place; ``label`` is what a screen reader says."""
    parts = [_bar("track", 1.0, 18, 10)]
    if bars.base is not None:
        parts += [_bar("track", 1.0, 2, 10), _bar("base", bars.base, 2, 10)]
    low, high = bars.low * BAR_WIDTH, bars.high * BAR_WIDTH
    parts += [
        _bar("tuned", bars.tuned, 18, 10),
        _line("whisker", low, 23, high, 23),
        _line("whisker", low, 19, low, 27),
        _line("whisker", high, 19, high, 27),
    ]
    return tag(
        "svg",
        *parts,
        class_="bars",
        viewBox=f"0 0 {BAR_WIDTH:g} {BAR_HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def draw_chart(curves: Sequence[Curve], *, top: float, label: str) -> Markup:
    """Updates from left to right, values from 0 to ``top``; curve n has the class ``cn``."""
    last = max((update for curve in curves for update, _ in curve.points), default=0) or 1

    def place(update: float, value: float) -> tuple[float, float]:
        right = LEFT + (CHART_WIDTH - LEFT - RIGHT) * update / last
        height = CHART_HEIGHT - BOTTOM - TOP
        return round(right, 1), round(TOP + height * (1 - min(value / top, 1.0)), 1)

    parts = []
    for number in range(NUM_TICKS + 1):
        value = top * number / NUM_TICKS
        left, height = place(0, value)
        parts.append(_line("grid", left, height, CHART_WIDTH - RIGHT, height))
        parts.append(_text(f"{value:.3g}", left - 8, height + 4, "end"))
    for update in sorted({update for curve in curves for update, _ in curve.points}):
        parts.append(_text(str(update), place(update, 0)[0], CHART_HEIGHT - 8, "middle"))
    for number, curve in enumerate(curves):
        places = [place(update, value) for update, value in curve.points]
        drawn = " ".join(f"{x:g},{y:g}" for x, y in places)
        parts.append(tag("path", d=f"M{drawn.replace(' ', 'L')}", class_=f"curve c{number}"))
        parts += [tag("circle", cx=x, cy=y, r=3.5, class_=f"dot c{number}") for x, y in places]
    return tag(
        "svg",
        join(*parts),
        class_="chart",
        viewBox=f"0 0 {CHART_WIDTH:g} {CHART_HEIGHT:g}",
        role="img",
        aria_label=label,
    )


def nice_top(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is not below ``value``."""
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 <= value:
        power *= 10
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value * (1 - 1e-9))


def _bar(class_: str, share: float, y: float, height: float) -> Markup:
    width = max(0.0, min(share, 1.0)) * BAR_WIDTH
    return tag("rect", x=0, y=y, width=f"{width:g}", height=height, class_=class_)


def _line(class_: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return tag("line", x1=f"{x1:g}", y1=f"{y1:g}", x2=f"{x2:g}", y2=f"{y2:g}", class_=class_)


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return tag("text", text, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor)
