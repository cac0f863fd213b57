"""What the page of a scorecard says, in both languages, and how it writes a figure."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from selfhood.evaluate.markup import Markup, join, tag
from selfhood.evaluate.types import Measure


@cache
def resource(name: str) -> str:
    return files("selfhood.evaluate").joinpath("page", name).read_text(encoding="utf-8")


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads(resource("words.toml"))


def word(table: str, key: str, language: str) -> str:
    """What nobody has put into words is called by its key."""
    return str(_words()[table].get(key, {}).get(language, key.replace("_", " ")))


def has_words(key: str) -> bool:
    return key in _words()["page"]


def say(key: str, table: str = "page") -> Markup:
    """In both languages, one of which is hidden."""
    return join(
        tag("span", word(table, key, "zh"), class_="zh", lang="zh-CN"),
        tag("span", word(table, key, "en"), class_="en", lang="en"),
    )


def about(measure: Measure) -> Markup:
    entry = _words()["measures"].get(measure.name, {})
    return join(
        tag("span", str(entry.get("about_zh", "")), class_="zh", lang="zh-CN"),
        tag("span", str(entry.get("about_en", "")), class_="en", lang="en"),
    )


def figure(value: float, unit: str) -> str:
    match unit:
        case "":
            return f"{100 * value:.1f}%"
        case "points":
            return f"{value:+.1f}".replace("-", "−")
        case _:
            return f"{value:.4f}"


def with_unit(value: float, unit: str) -> Markup:
    return join(figure(value, unit), *([" ", say(unit, "units")] if unit else []))


def interval(measure: Measure) -> str:
    return f"{figure(measure.low, measure.unit)} – {figure(measure.high, measure.unit)}"
