"""Exact checks: whether a reply holds the one right answer, and in one line why.

    AnyOf         a right wording, as whole words              The capital is Paris.
    LastNumber    the last number of the reply                 17 + 25 = 42.
    Letter        the option that the reply chooses            答案是 B。
    JsonKeys      one JSON object with exactly these keys
    LineCount     so many lines that are not blank
    Pattern       the whole reply, by a regular expression
    PassingCode   the reply's code, run with its assertions    (``sandbox``)

No judgement of style: what cannot be decided by a rule is not asked.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from selfhood.evaluate import texts
from selfhood.evaluate.sandbox import run_checked
from selfhood.evaluate.texts import AnyOf, JsonKeys, LineCount, PassingCode, Pattern

LONGEST_QUOTE = 60

_NUMBER = re.compile(r"-?\d+(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?")
_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_SAID = re.compile(
    r"(?:answer|choice|option)(?:\s+is)?\s*[:：]?\s*[*(（]*([A-D])(?![a-z])"
    r"|(?:答案|选项?|应选)(?:是|为)?\s*[:：]?\s*[*(（]*([A-D])(?![a-z])",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[\s*(（]*([A-D])(?![A-Za-z]| [a-z])")
_NAMED = re.compile(r"(?<![A-Za-z])([A-D])(?![A-Za-z])")
_ARTICLE = re.compile(r"(?<![A-Za-z])A(?= [a-z])")


@dataclass(frozen=True, slots=True)
class LastNumber:
    """The reply works its way to a number: the last it names counts. An answer may be in words."""

    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Letter:
    """One of the options A to D."""

    answer: str


Check = texts.Check | LastNumber | Letter


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a reply is right, and why it is said to be."""

    is_good: bool
    why: str


def look(check: Check, reply: str) -> Finding:
    """Code is run."""
    match check:
        case AnyOf(answers):
            return _find_words(answers, reply)
        case LastNumber(answers):
            return _find_last_number(answers, reply)
        case Letter(answer):
            return _find_letter(answer, reply)
        case JsonKeys(keys):
            return _find_keys(keys, reply)
        case LineCount(num_lines):
            found = sum(bool(line.strip()) for line in reply.splitlines())
            return Finding(found == num_lines, f"wanted {num_lines} lines, found {found}")
        case Pattern(regex):
            is_good = re.fullmatch(regex, reply.strip(), re.DOTALL) is not None
            return Finding(is_good, f"wanted the form {regex}, found {quote(reply)}")
        case PassingCode(function, asserts):
            return _try_out(function, asserts, reply)


def _find_words(answers: Sequence[str], reply: str) -> Finding:
    """Whatever the case; words of Latin letters stand alone."""
    text = plain(reply).casefold()
    for answer in answers:
        if re.search(_as_word(plain(answer).casefold()), text):
            return Finding(True, f"holds {answer!r}")
    return Finding(False, f"holds none of: {', '.join(answers)}")


def _find_last_number(answers: Sequence[str], reply: str) -> Finding:
    wanted = answers[0]
    found = _NUMBER.findall(plain(reply))
    if not found:
        words = _find_words(answers, reply)
        return words if words.is_good else Finding(False, f"wanted {wanted}, found no number")
    values = [_value(answer) for answer in answers if _NUMBER.fullmatch(answer)]
    why = f"wanted {wanted}, the last number is {found[-1]}"
    return Finding(_value(found[-1]) in values, why)


def _find_letter(answer: str, reply: str) -> Finding:
    chosen = chosen_letter(plain(reply))
    if chosen is None:
        return Finding(False, f"wanted {answer}, the reply chooses no letter")
    return Finding(chosen == answer, f"wanted {answer}, the reply chooses {chosen}")


def _find_keys(keys: Sequence[str], reply: str) -> Finding:
    try:
        value = json.loads(unfenced(reply))
    except ValueError:
        return Finding(False, "is not JSON")
    if not isinstance(value, dict):
        return Finding(False, f"is a JSON {type(value).__name__}, not an object")
    found = ", ".join(map(str, value))
    return Finding(set(value) == set(keys), f"wanted the keys {', '.join(keys)}; found {found}")


def _try_out(function: str, asserts: Sequence[str], reply: str) -> Finding:
    checks = "\n".join(f"assert {each}, {each!r}" for each in asserts)
    outcome = run_checked(unfenced(reply), checks)
    if outcome.passed:
        return Finding(True, f"{function} passes {len(asserts)} checks")
    return Finding(False, f"{function} fails: {outcome.why}")


def chosen_letter(reply: str) -> str | None:
    """What the reply says is the answer; else the letter it begins with; else the only one it
    names."""
    if said := [match[1] or match[2] for match in _SAID.finditer(reply)]:
        return said[-1].upper()
    if first := _FIRST.match(reply):
        return str(first[1])
    named: set[str] = set(_NAMED.findall(reply))
    if len(named) != 1 or (named == {"A"} and _ARTICLE.search(reply)):
        return None
    return named.pop()


def unfenced(reply: str) -> str:
    """What stands in the first code block, else all of it."""
    block = _FENCE.search(reply)
    return block[1] if block else reply.strip()


def plain(text: str) -> str:
    """Full-width digits, letters and marks as their usual forms; LaTeX and Markdown marks gone."""
    return re.sub(r"\\[()\[\]]|[*_`$]", "", unicodedata.normalize("NFKC", text)).replace("−", "-")


def quote(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= LONGEST_QUOTE else f"{flat[:LONGEST_QUOTE]}...")


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", ""))


def _as_word(text: str) -> str:
    """Chinese has no spaces to tell words apart; elsewhere Paris is not in comparison."""
    word = re.escape(text)
    return rf"(?<![a-z0-9]){word}(?![a-z0-9])" if text.isascii() else word
