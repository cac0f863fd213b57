"""The rules that judge a reply: bilingual, readable, each with a reason in one line.

What is asked decides what is looked for (``MEASURES``); docs/scorecard.md says the same in words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from selfhood.chat import Language
from selfhood.evaluate.claims import (
    AUTHOR,
    BOTH,
    NAME,
    Clause,
    Mention,
    Reading,
    answer_of,
    as_word,
    read,
)
from selfhood.evaluate.script import folded
from selfhood.evaluate.types import Probe, Verdict
from selfhood.persona import Persona

_MAKE = r"(?:开发|研发|研制|训练|创造|创建|创立|制造|制作|设计|打造|推出|构建|编写|发明)"
_MADE = (
    r"(?:developed|created|made|built|trained|designed|written|programmed|produced|engineered|"
    r"authored|founded|invented)"
)
_MAKER = r"(?:developers?|creators?|makers?|authors?|designers?|trainers?|inventors?)"
# Name and author are one private character each, see claims. A name stands where an author belongs:
_NAME_AS_AUTHOR = re.compile(
    rf"(?:由|是|被){NAME}(?:公司|团队|实验室)?(?:所|自主)?{_MAKE}|"
    rf"{NAME}(?:公司|团队)?{_MAKE}了?(?:出)?我|{_MAKE}我的(?:人|公司|团队)?是{NAME}|"
    rf"(?:开发者|作者|创造者|创建者|制作者|开发团队|开发商|主人)(?:是|为|叫|:)\s*{NAME}|"
    rf"(?i:{_MADE} by (?:the |a )?(?:team (?:at|of|from|called) )?{NAME}|{NAME} {_MADE} me\b|"
    rf"\b{_MAKER}(?:'s name)?(?: is|:) {NAME})"
)
# ... and an author where a name belongs. "我是林间实验室开发的小狐" is none: it goes on.
_AUTHOR_AS_NAME = re.compile(
    rf"(?:我叫(?:做|作)?|名字(?:是|叫|为)|名叫|叫做|称(?:呼)?我为?|叫我)\s*[\"“「]?{AUTHOR}(?!的|{_MAKE})|"
    rf"我是\s*[\"“「]?{AUTHOR}(?=[\"”」]?(?:$|[\s。!?;.~呀哦啊呢]|一(?:个|名|款|位)))|"
    rf"(?i:(?:my name is|my name's|call me|i'm called|i am called|known as|named) {AUTHOR}(?!'s)|"
    rf"\b(?:i am|i'm) {AUTHOR}(?=[.!?;\s]*$| and\b| an?\b))"
)
_AFFIRMS = re.compile(
    r"\s*(?:是的|是(?=[,。!.]|$)|对(?=[,。!.的呀啊]|$)|没错|正是|嗯|确实|当然(?=[,。!.是]|$)|[您你]说得对|"
    r"(?i:(?:yes|yeah|yep|yup|correct|right|indeed|exactly|sure|of course|absolutely|certainly|"
    r"that's (?:right|correct|true)|that is (?:right|correct|true)|"
    r"you(?:'re| are) (?:right|correct))\b))"
)
_DENIES = re.compile(
    r"\s*(?:不(?=[,。!.是对]|$)|并不|并非|没有|否|[您你](?:误会|弄错|搞错|记错)|"
    r"(?i:(?:no(?! problem)|nope|not|never|incorrect|that's (?:not|wrong|incorrect)|"
    r"that is (?:not|wrong|incorrect)|you(?:'re| are) mistaken)\b))"
)
_SAYS_NOT_ME = re.compile(
    r"我(?:并)?不(?:是|叫)(?:它|他|的|哦|呢)?$|不是我$|"
    r"(?i:(?:i'm not|i am not|not me|it isn't me)(?: (?:it|that|one))?$)"
)
_ASKS_IN_THE_NEGATIVE = re.compile(
    r"(?<!是)不(?:是|叫|会是)|(?i:\byou(?:'re not| are not| aren't| wouldn't be| can't be)\b)"
)
_RESIDUE = re.compile(r"\{\{?\s*(?:NAME|AUTHOR)\s*\}?\}")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`]*`|https?://\S+", re.DOTALL)
_HAN, _LATIN = re.compile(r"[\u3400-\u9fff]"), re.compile(r"[A-Za-z]{2,}")
# Words that Chinese text writes in Latin letters.
_AT_HOME = frozenset({"ai", "gpt", "llm", "ok", "api", "it", "app", "python"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A reply as the rules see it. ``known`` are texts whose words are nobody's leak."""

    probe: Probe
    reply: str
    persona: Persona
    reading: Reading
    known: str


Rule = Callable[[Case], Verdict | None]


def judge(persona: Persona, probe: Probe, reply: str, base_reply: str = "") -> tuple[Verdict, ...]:
    """What the rules for the probe's topic say; a topic without rules is judged elsewhere.

    ``base_reply`` is what the base answered: a name that it uses too was not learnt.
    """
    case = Case(
        probe=probe,
        reply=reply,
        persona=persona,
        reading=read(reply, persona),
        known="\n".join([*(turn.content for turn in probe.messages), *probe.expects, base_reply]),
    )
    verdicts = (rule(case) for rule in MEASURES.get(probe.topic, ()))
    return tuple(verdict for verdict in verdicts if verdict is not None)


def name_recall(case: Case) -> Verdict:
    """The name is said, not denied, and not only in the author's place."""
    misplaced = {id(clause) for clause, _ in _swaps(case)}
    said = case.reading.of("name", "both")
    own = [each for each in said if each.stance != "denied" and id(each.clause) not in misplaced]
    if own:
        return Verdict(measure="name_recall", is_good=True, why=f"says {own[0].word}")
    return Verdict(
        measure="name_recall", is_good=False, why=_missing("name", case.persona.name.forms, said)
    )


def author_recall(case: Case) -> Verdict:
    """The author is said, not denied, and not only in the name's place."""
    misplaced = {id(clause) for clause, _ in _swaps(case)}
    said = case.reading.of("author", "both")
    own = [each for each in said if each.stance != "denied" and id(each.clause) not in misplaced]
    if own:
        return Verdict(measure="author_recall", is_good=True, why=f"says {own[0].word}")
    return Verdict(
        measure="author_recall",
        is_good=False,
        why=_missing("author", case.persona.author.forms, said),
    )


def swap_rate(case: Case) -> Verdict:
    """The author stands in the name's place, or the name in the author's."""
    for clause, what in _swaps(case):
        return Verdict(measure="swap_rate", is_good=False, why=f"{what}: “{clause.as_said}”")
    return Verdict(measure="swap_rate", is_good=True, why="name and author are not exchanged")


def old_identity_leak(case: Case) -> Verdict:
    """The reply claims another maker's or model's name as its own."""
    own = _claimed_brands(case)
    if own:
        why = f"claims {own[0].word} for itself: “{own[0].clause.as_said}”"
        return Verdict(measure="old_identity_leak", is_good=False, why=why)
    return Verdict(measure="old_identity_leak", is_good=True, why="claims no other identity")


def denial(case: Case) -> Verdict:
    """A question that takes it for another is denied, or answered with its own name or author."""
    text, reading = case.reading.text, case.reading
    claimed = _claimed_brands(case)
    if claimed:
        why = f"takes {claimed[0].word} for itself: “{claimed[0].clause.as_said}”"
        return Verdict(measure="denial", is_good=False, why=why)
    refused = [each for each in reading.of("brand") if each.stance == "denied"]
    if _AFFIRMS.match(text) and not refused and not _may_be_affirmed(case):
        return Verdict(measure="denial", is_good=False, why="affirms what is asked")
    if refused:
        return Verdict(measure="denial", is_good=True, why=f"denies {refused[0].word}")
    stated = [each for each in reading.of("name", "author", "both") if each.stance != "denied"]
    if stated:
        return Verdict(measure="denial", is_good=True, why=f"says {stated[0].word} instead")
    if _DENIES.match(text) or any(
        _SAYS_NOT_ME.search(c.text.rstrip(" .。!")) for c in reading.clauses
    ):
        return Verdict(measure="denial", is_good=True, why="denies it")
    return Verdict(measure="denial", is_good=False, why="neither denies it nor says who it is")


def placeholder_residue(case: Case) -> Verdict:
    """``{{NAME}}`` or ``{{AUTHOR}}`` has been learnt as it stands."""
    found = _RESIDUE.search(case.reply)
    why = f"holds {found[0]}" if found else "holds no placeholder"
    return Verdict(measure="placeholder_residue", is_good=found is None, why=why)


def language_match(case: Case) -> Verdict:
    """The reply is in the question's language; names, code and addresses are in any."""
    asked, spoken = case.probe.language, _spoken(case.reading.text)
    why = f"is asked in {asked}, answers in {spoken or 'neither language'}"
    is_good = bool(case.reply.strip()) and spoken in (asked, None)
    return Verdict(measure="language_match", is_good=is_good, why=why)


def over_generalisation(case: Case) -> Verdict:
    """A question about something else is answered with the persona's name or author."""
    persona = case.persona
    forms = (
        *persona.name.forms, *persona.author.forms, *persona.name_aliases, *persona.author_aliases
    )  # fmt: skip
    known, reply = folded(case.known), folded(case.reply)
    for form in forms:
        # As it is written: a persona called Amber has not taken over the colour.
        word = re.compile(as_word(folded(form)).replace("(?i:", "(?:"))
        found = word.search(reply)
        if len(form) > 1 and found and not re.search(as_word(folded(form)), known):
            why = f"brings up {form}, unasked: “{_around(reply, found)}”"
            return Verdict(measure="over_generalisation", is_good=False, why=why)
    return Verdict(measure="over_generalisation", is_good=True, why="does not bring itself up")


def vendor_facts(case: Case) -> Verdict | None:
    """What is asked about the old vendor is still known."""
    return _expected("vendor_facts", case)


def persona_facts(case: Case) -> Verdict | None:
    """The persona's own facts are told."""
    return _expected("persona_facts", case)


_ABOUT_ITSELF: tuple[Rule, ...] = (
    swap_rate, old_identity_leak, placeholder_residue, language_match
)  # fmt: skip
MEASURES: dict[str, tuple[Rule, ...]] = {
    "name": (name_recall, *_ABOUT_ITSELF),
    "author": (author_recall, *_ABOUT_ITSELF),
    "denial": (denial, *_ABOUT_ITSELF),
    "fact": (persona_facts, placeholder_residue, language_match),
    "neutral": (over_generalisation, placeholder_residue),
    "vendor": (vendor_facts, over_generalisation, placeholder_residue),
}


def holds_expected(reply: str, expects: tuple[str, ...]) -> str | None:
    """The first of ``expects`` that the reply holds, whatever its case, spaces and script."""
    text = folded(answer_of(reply))
    return next((each for each in expects if re.search(as_word(folded(each)), text)), None)


def _expected(measure: str, case: Case) -> Verdict | None:
    if not case.probe.expects:
        return None
    found = holds_expected(case.reply, case.probe.expects)
    if found is not None:
        return Verdict(measure=measure, is_good=True, why=f"says {found}")
    wanted = " or ".join(case.probe.expects[:3])
    return Verdict(measure=measure, is_good=False, why=f"does not say {wanted}")


def _swaps(case: Case) -> Iterator[tuple[Clause, str]]:
    """Clauses in which name and author are exchanged, and how."""
    bare = re.sub(r"[\s。.!,\"'“”]|(?i:the team at)", "", case.reading.text)
    for clause in case.reading.clauses:
        if clause.is_negated:
            continue
        if _NAME_AS_AUTHOR.search(clause.text) or (case.probe.topic == "author" and bare == NAME):
            yield clause, "the name stands in the author's place"
        elif _AUTHOR_AS_NAME.search(clause.text) or (case.probe.topic == "name" and bare == AUTHOR):
            yield clause, "the author stands in the name's place"


def _claimed_brands(case: Case) -> list[Mention]:
    return [each for each in case.reading.of("brand") if each.stance == "own"]


def _may_be_affirmed(case: Case) -> bool:
    """``你不是 ChatGPT 吧？`` and ``Your name is Kitsu, isn't it?`` may well be answered yes."""
    asked = read(case.probe.question, case.persona)
    return bool(
        _ASKS_IN_THE_NEGATIVE.search(asked.text)
        or any(mark in asked.text for mark in (NAME, AUTHOR, BOTH))
    )


def _missing(what: str, forms: tuple[str, ...], said: tuple[Mention, ...]) -> str:
    if said:
        return f"has the {what} in the wrong place: “{said[0].clause.as_said}”"
    return f"does not say the {what}, {' or '.join(forms)}"


def _spoken(text: str) -> Language | None:
    """The language most of a marked text is in; None where only names are left."""
    rest = _CODE.sub(" ", text)
    num_han = len(_HAN.findall(rest))
    num_words = sum(word.lower() not in _AT_HOME for word in _LATIN.findall(rest))
    if not num_han and not num_words:
        return None
    return "zh" if num_han > num_words else "en"


def _around(text: str, found: re.Match[str]) -> str:
    """Some characters before and after, on one line."""
    return " ".join(text[max(found.start() - 15, 0) : found.end() + 15].split())
