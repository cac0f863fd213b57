"""What a reply claims: where it says the persona's name, its author or a brand, and in which sense.

    我是小狐，由林间实验室开发，不是通义千问。
    我是N    │ 由A开发          │ 不是B            clauses; N, A and B stand for what was named
      own       own               denied           the stance of each mention

A stance follows from the clause alone: what is negated before it, or after it of "me", is denied;
what is likened is compared; in a clause about somebody else ("ChatGPT is made by OpenAI") it is of
others. Everything else a reply says of itself. That is how a reader takes it, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from selfhood.data.brands import brand_patterns
from selfhood.evaluate.script import folded
from selfhood.persona import Persona

Kind = Literal["name", "author", "both", "brand"]
Stance = Literal["own", "denied", "compared", "others"]

# What was named becomes one private character, so that the rules below need not know any names.
NAME, AUTHOR, BOTH, BRAND = "\ue000", "\ue001", "\ue002", "\ue003"
KINDS: dict[str, Kind] = {NAME: "name", AUTHOR: "author", BOTH: "both", BRAND: "brand"}
_MARKS = {kind: mark for mark, kind in KINDS.items()}
_ANY = f"[{''.join(KINDS)}]"

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_SENTENCE = re.compile(r"[^。!?;\n]*?(?:[。!?;\n]+|\.(?=\s|$)|$)", re.DOTALL)
_CLAUSE = re.compile(
    r"[,—()]+|\s[-–]\s|"
    r"(?=而不是|而是|而非|但是|(?<!不)但|不过|因为|所以|而且|并且)|"
    r"(?<=[^\s为得说称道是诉你和与跟,])(?=我(?:是|叫|的名字|的开发|由|来自))|"
    r"(?i:\s(?=(?:but|because|since|although|though|while|whereas|however|which|who|and not|"
    r"and i(?! are\b|'re\b| both\b)|and my|and was|and am|as an?|as i)\b))"
)
_NEGATION = re.compile(
    r"不(?![仅只但光过错客好用必管论妨愧久断])|没(?![错问])|并非|绝非|而非|非(?=[^常])|未(?!来)|别(?=[把将叫])|无关|否认|"
    r"(?i:\b(?:not(?! (?:only|just|merely))|never|no longer|neither|nor|without|rather than|"
    r"instead of|no (?:relation|connection|affiliation)|unrelated|nothing|cannot)\b|n't\b)"
)
_UNRELATED = re.compile(
    r"无关|(?:没有?|无)(?:任何|什么|直接)?(?:关系|关联|联系)|不是一回事|两回事|不一样|不同|"
    r"(?i:\b(?:different|distinct|separate|independent)\b|unrelated|nothing to do)"
)
_COMPARISON = re.compile(
    r"类似|像|如同|相似|混淆|误认|误以为|当成|当作|搞混|比(?!赛)|例如|"
    r"(?i:\b(?:similar|compar\w+|unlike|(?<!would )(?<!'d )like(?! to)|such as|confus\w+|"
    r"mistak\w+|mix\w* up|(?<!other )than)\b)|"
    r"(?:有人|有些人|人们|很多人|不少人|大家)[^,]*(?:问|以为|觉得|认为)|"
    r"(?i:\b(?:people|users|some|many|others)\b[^,]*\b(?:ask|think|assum|believ|wonder)\w*)"
)
_ABOUT = re.compile(r"关于|有关|了解|介绍|(?i:\b(?:about|regarding|information on)\b)")
_SAME = r"(?!.*(?:同一|一家|一个|关系|关联|联系|合作|(?i:\bsame\b)))"
_COMPARED = re.compile(rf"[^,]*(?:一样|那样)|\s*(?:和|与|跟)我{_SAME}|(?i:\s*and i\b){_SAME}")
_ME = re.compile(
    r"[我咱俺]|(?:本|这个)(?:人|助手|模型|AI)|\bI\b|"
    r"(?i:\b(?:me|my|mine|myself|this (?:ai|model|assistant|chatbot|bot))\b)"
)
_ONLY_ACTS = re.compile(
    r"我(?:们)?(?:不?(?:知道|了解|认识|清楚|确定)|听说|可以|能够|能|会|无法|觉得|认为|想|需要|帮)|据我所知|"
    r"(?:告诉|帮助?|请?问|让|给)我|"
    r"(?i:\bI(?:'ve| have)? (?:know|heard|can|could|may|might|will|would|think|believe)\b|"
    r"\bI (?:need|want)\b|\bI'(?:ll|d)\b|\b(?:tell|help|ask|let|give|show) me\b|to my knowledge)"
)
_OPENING = (
    r"(?:是的|对的?|不是的?|不|嗯|事实上|实际上|当然|(?i:yes|no|well|actually|in fact|and|so))?\s*"
)
_OTHERS = re.compile(
    rf"{_OPENING}(?:该公司|这家|这是一家|如果|若|[您你](?!好)|请|人们|有人|有些|"
    r"(?i:(?:these|you|if|people|some|many|please|the company)\b))"
)
_THEY = re.compile(
    rf"{_OPENING}(?:它|他|她|其(?!实)|那是|"
    r"(?i:(?:it|they|he|she|its|their|his|her|who|which|that's|that is)\b))"
)
_MAKING = (
    "(?:开发|研发|研制|训练|创造|创建|创立|制造|制作|设计|打造|推出|构建|编写|发明|培养|做|造|写)"
)
# "阿里云开发的。" answers for itself: what is left out is "I am".
_ELLIPTIC = re.compile(
    rf"{_OPENING}{BRAND}[^{BRAND},是]{{0,8}}?{_MAKING}(?:出来)?的(?![^,]*(?:是|有|能|可以))"
)
_SOMEBODY = re.compile(
    rf"{_OPENING}(?i:the |an? )?[\"“「]?{BRAND}(?:"
    r"[^,]*?(?:是|由|为|属于|来自|出自|有|推出|发布|开发|研发|成立|提供|也)|"
    r"(?i:[^,]{0,30}?\s(?:is|was|are|were|has|have|had|can|does|did|makes|made|created|comes|"
    r"belongs|developed|offers|provides|released|launched|uses|trained|built|owns)\b))"
)
# "我和Siri是好朋友": what stands beside it is another; the same one, or one of a family, is not.
_BESIDE = re.compile(rf"{_OPENING}[我咱]?(?:和|跟|与|同)\s*[\"“「]?{BRAND}{_SAME}")
_HELLO = r"(?:你好|您好|嗨|哈喽|早上好|晚上好|(?i:hello|hi|hey|good (?:morning|afternoon|evening)))"
_GREETING = re.compile(_HELLO)
_GREETED = re.compile(rf"{_HELLO}\s*{BRAND}[!~.]*|{BRAND}\s*{_HELLO}[!~.]*")
_LIST_ONLY = re.compile(
    rf"(?:{_ANY}|\s|[、;!?/&\"'“”「」.]|和|或者?|以及|还有|也|等|(?i:\b(?:or|and|nor)\b))+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """``text`` has a private character for everything named; ``words`` are what stood there."""

    text: str
    words: tuple[str, ...]
    is_question: bool

    @property
    def as_said(self) -> str:
        words = iter(self.words)
        return re.sub(_ANY, lambda _: next(words), self.text).strip()

    @property
    def is_negated(self) -> bool:
        return _NEGATION.search(self.text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One name, in one clause."""

    kind: Kind
    word: str
    stance: Stance
    clause: Clause
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A reply, read. ``text`` is all of it, with what was named as private characters."""

    text: str
    clauses: tuple[Clause, ...]
    mentions: tuple[Mention, ...]

    def of(self, *kinds: Kind) -> tuple[Mention, ...]:
        return tuple(mention for mention in self.mentions if mention.kind in kinds)


def read(reply: str, persona: Persona) -> Reading:
    """What ``reply`` says of the persona and of brands. What it thinks before is not read."""
    text, words = _mark(folded(answer_of(reply)), persona)
    clauses = tuple(_clauses(text, words))
    return Reading(text=text, clauses=clauses, mentions=tuple(_mentions(clauses)))


def answer_of(reply: str) -> str:
    """The reply without its thoughts and without Markdown's stars and ticks."""
    return re.sub(r"[*`]", "", _THOUGHT.sub("", reply)).strip()


def _mark(text: str, persona: Persona) -> tuple[str, list[str]]:
    pattern, kinds = _named(persona)
    words: list[str] = []

    def mark(match: re.Match[str]) -> str:
        words.append(match[0])
        return _MARKS[kinds.get(_squeezed(match[0]), "brand")]

    return pattern.sub(mark, text), words


@lru_cache(maxsize=8)
def _named(persona: Persona) -> tuple[re.Pattern[str], dict[str, Kind]]:
    """A pattern for every form of name and author, the longest first, then for the brands; and what
    each form is. A brand that the persona's own facts speak of is not looked for."""
    names = {folded(form) for form in (*persona.name.forms, *persona.name_aliases)}
    authors = {folded(form) for form in (*persona.author.forms, *persona.author_aliases)}
    kinds: dict[str, Kind] = {
        **{_squeezed(form): "name" for form in names},
        **{_squeezed(form): "author" for form in authors},
        **{_squeezed(form): "both" for form in names & authors},
    }
    forms = [as_word(form) for form in sorted(names | authors, key=len, reverse=True)]
    said = folded("\n".join(fact.answer for fact in persona.facts))
    brands = [brand for brand in brand_patterns() if not re.search(brand, said)]
    return re.compile("|".join([*forms, *brands])), kinds


def _squeezed(form: str) -> str:
    return re.sub(r"[\s_-]+", "", form).lower()


def as_word(form: str) -> str:
    """A pattern for a name, whatever its case and spaces. Chinese has no spaces to tell words
    apart; elsewhere Al is not in also."""
    spaced = r"[\s_-]*".join(map(re.escape, re.split(r"[\s_-]+", form)))
    before = r"(?<![A-Za-z0-9])" if form[0].isascii() and form[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if form[-1].isascii() and form[-1].isalnum() else ""
    return f"{before}(?i:{spaced}){after}"


def _clauses(text: str, words: list[str]) -> Iterator[Clause]:
    named = iter(words)
    for match in _SENTENCE.finditer(text):
        sentence = match[0]
        parts = [part for part in _CLAUSE.split(sentence) if part and part.strip(" 。!?;.\n")]
        for number, part in enumerate(parts, start=1):
            taken = tuple(next(named) for char in part if char in KINDS)
            asks = number == len(parts) and sentence.rstrip().endswith("?")
            yield Clause(text=part.strip(), words=taken, is_question=asks)


def _mentions(clauses: tuple[Clause, ...]) -> Iterator[Mention]:
    is_about_others = has_others = False
    before: Stance = "own"
    for clause in clauses:
        is_about_others = _is_about_others(clause, is_about_others, has_others)
        is_list = _LIST_ONLY.fullmatch(clause.text) is not None
        stance: Stance = "own"
        for match, word in zip(re.finditer(_ANY, clause.text), clause.words, strict=True):
            kind = KINDS[match[0]]
            if not is_list:
                stance = _stance(clause.text, match.start(), kind, is_about_others)
            elif kind == "brand":
                stance = before  # "I'm not A, B or C" denies three
            if kind == "brand" and clause.is_question and stance == "own":
                stance = "others"
            has_others |= kind in ("brand", "author")
            yield Mention(
                kind=kind, word=word, stance=stance, clause=clause, position=match.start()
            )
        before = "others" if _GREETING.fullmatch(clause.text) else stance  # "Hi, Siri!"


def _stance(text: str, position: int, kind: Kind, is_about_others: bool) -> Stance:
    """Of what is named at ``position`` of a clause."""
    if _NEGATION.search(text, 0, position):
        return "denied"
    after = _NEGATION.search(text, position)
    if after and (_ME.search(text, after.end()) or _UNRELATED.search(text)):
        return "denied"
    if kind != "brand":
        return "own"
    if _UNRELATED.search(text):
        return "denied"
    if (
        _COMPARISON.search(text, 0, position)
        or _COMPARED.match(text, position + 1)
        or _BESIDE.match(text)
    ):
        return "compared"
    if _GREETED.fullmatch(text):
        return "others"
    if is_about_others or _only_acts(text) or _ABOUT.search(text, 0, position):
        return "others"
    return "own"


def _is_about_others(clause: Clause, before: bool, has_others: bool) -> bool:
    """Whether a clause has another subject than the one who speaks; without any it has that of the
    clause before. ``has_others``: somebody was named whom *it* or *who* can mean."""
    text = clause.text
    if _ME.search(text):
        return False
    if _OTHERS.match(text) or (has_others and _THEY.match(text)):
        return True
    if _ELLIPTIC.match(text):
        return False
    return before or _SOMEBODY.match(text) is not None


def _only_acts(text: str) -> bool:
    """``I know ChatGPT``: what one does says nothing of who one is."""
    return _ONLY_ACTS.search(text) is not None and not _ME.search(_ONLY_ACTS.sub("", text))
