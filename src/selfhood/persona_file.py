"""``persona.yaml``: who the model is to be, with all that is known of it -> Persona.

    name, author    in both languages, or one text for both
    aliases         other right ways to write them
    system, voice   the system line of the run; how it speaks is added to it
    facts           per language: questions, the answer, and what shows that it was given
    must, must_not  per language: what it says when it introduces itself; what it denies
    base_model      what it may be said to be made from, or `hide`

A mistake is one line with the file, the line and the column. Texts may hold ``{{NAME}}`` and
``{{AUTHOR}}``. JSON is read as well, and ``data/persona/schema.json`` says the same to an editor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from selfhood.chat import Language
from selfhood.data.claims import claimed, denied, made_from
from selfhood.errors import FlagError, InputError, MissingError
from selfhood.persona import Bilingual, Fact, Persona

LANGUAGES: tuple[Language, ...] = get_args(Language)
KEYS = (
    "name", "author", "aliases", "system", "voice", "facts", "must", "must_not", "base_model",
)  # fmt: skip
ALIAS_KEYS = ("name", "author")
FACT_KEYS = ("ask", "answer", "expects")
HIDE = "hide"
FORBIDDEN = ("<|", "|>")
FLAG = "--persona"


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of the file, what it is called, and where it stands."""

    node: Any
    key: str
    file: str

    def wrong(self, what: str, hint: str | None = None) -> FlagError:
        mark = self.node.start_mark
        where = f"{self.file}:{mark.line + 1}:{mark.column + 1}"
        return FlagError(what, where=f"{where}: {self.key}" if self.key else where, hint=hint)

    @property
    def kind(self) -> str:
        return str(self.node.id)

    def text(self) -> str:
        """A text of one or more words; numbers and dates are taken as they are written."""
        if self.kind != "scalar" or self.node.tag == "tag:yaml.org,2002:null":
            raise self.wrong("is not a text", "write one text here")
        text = str(self.node.value).strip()
        if not text:
            raise self.wrong("is empty", "fill it in, or drop the key")
        if any(mark in text for mark in FORBIDDEN):
            raise self.wrong(f"{text!r} holds template marks", "write plain text")
        return text

    def texts(self) -> tuple[str, ...]:
        """A text, or a list of texts."""
        if self.kind == "scalar":
            return (self.text(),)
        return tuple(entry.text() for entry in self.list())

    def list(self) -> Iterator[Entry]:
        if self.kind != "sequence":
            raise self.wrong("is not a list", "begin each item with a dash")
        for number, node in enumerate(self.node.value, start=1):
            yield Entry(node, f"{self.key}[{number}]", self.file)

    def keys(self, known: Sequence[str]) -> dict[str, Entry]:
        """What stands under each key; a key that is not ``known`` is a mistake, and so is one that
        is there twice."""
        if self.kind != "mapping":
            raise self.wrong("holds no keys", f"there are {', '.join(known)}")
        found: dict[str, Entry] = {}
        for key_node, node in self.node.value:
            key = str(key_node.value)
            path = f"{self.key}.{key}" if self.key else key
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise Entry(key_node, path, self.file).wrong("unknown key", hint)
            if key in found:
                raise Entry(key_node, path, self.file).wrong("is there twice", "keep one of them")
            found[key] = Entry(node, path, self.file)
        return found


def read_persona(
    path: Path | str, *, name: Bilingual | None = None, author: Bilingual | None = None
) -> Persona:
    """The persona of a file, or of the text that ``persona_text`` made of one. ``name`` and
    ``author`` win over the file's.

    Raises ``FlagError`` for what is wrong in it, ``MissingError`` where there is no such file.
    """
    root = _root_of(path)
    entries = root.keys(KEYS)
    persona = Persona(
        name=_named(entries, root, "name", name), author=_named(entries, root, "author", author)
    )
    aliases = entries["aliases"].keys(ALIAS_KEYS) if "aliases" in entries else {}
    persona = replace(
        persona,
        name_aliases=aliases["name"].texts() if "name" in aliases else (),
        author_aliases=aliases["author"].texts() if "author" in aliases else (),
        base_model=_base_model(entries),
        system=_system_line(entries),
    )
    facts = (*_facts(entries), *_claims(entries))
    return replace(persona, facts=tuple(_filled(fact, persona) for fact in facts))


def persona_text(path: Path | str) -> str:
    """The file as one line of JSON, checked: what a checkpoint remembers of it."""
    return json.dumps(_plain(_root_of(path).node), ensure_ascii=False)


def _root_of(path: Path | str) -> Entry:
    import yaml

    is_text = isinstance(path, str) and path.startswith("{")
    name = FLAG if is_text else str(path)
    text = str(path) if is_text else _text_of(Path(path).expanduser())
    try:
        node = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise FlagError(
            f"is not YAML: {error.problem}",
            where=where,
            hint='put quotes round a text with a mark in it: "What are you?"',
        ) from error
    if node is None:
        raise FlagError("is empty", where=name, hint="selfhood init writes an example")
    return Entry(node, "", name)


def _text_of(path: Path) -> str:
    if not path.is_file():
        hint = f"selfhood init {path} writes an example"
        raise MissingError("no such file", where=f"{FLAG} {path}", hint=hint)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8", where=str(path)) from error


def _plain(node: Any) -> Any:
    if node.id == "mapping":
        return {str(key.value): _plain(value) for key, value in node.value}
    if node.id == "sequence":
        return [_plain(value) for value in node.value]
    return str(node.value)


def _named(entries: dict[str, Entry], root: Entry, key: str, typed: Bilingual | None) -> Bilingual:
    if typed is not None:
        return typed
    if key not in entries:
        raise root.wrong(f"has no {key}", f"add `{key}:`, or give --model_{key}")
    return _bilingual(entries[key])


def _bilingual(entry: Entry) -> Bilingual:
    """One text for both languages, or one for each; where one is missing the other serves."""
    texts = {"zh": entry} if entry.kind == "scalar" else entry.keys(LANGUAGES)
    if not texts:
        raise entry.wrong("is empty", "write zh: and en: below it")
    for text in texts.values():
        if "{{" in text.text() or "\n" in text.text():
            raise text.wrong(f"{text.text()!r} holds template marks", "give a plain name")
    zh, en = texts.get("zh"), texts.get("en")
    first = zh or en
    assert first is not None
    return Bilingual((zh or first).text(), (en or first).text())


def _by_language(entries: dict[str, Entry], key: str) -> Iterator[tuple[Language, Entry]]:
    if key in entries:
        under = entries[key].keys(LANGUAGES)
        yield from ((language, under[language]) for language in LANGUAGES if language in under)


def _system_line(entries: dict[str, Entry]) -> str | None:
    """The system line, and below it a line on how it speaks in each language."""
    lines = [entries["system"].text()] if "system" in entries else []
    if "voice" in entries:
        lines += _bilingual(entries["voice"]).forms
    return "\n".join(lines) or None


def _base_model(entries: dict[str, Entry]) -> Bilingual | None:
    entry = entries.get("base_model")
    if entry is None or (entry.kind == "scalar" and entry.text() == HIDE):
        return None
    return _bilingual(entry)


def _facts(entries: dict[str, Entry]) -> Iterator[Fact]:
    for language, listed in _by_language(entries, "facts"):
        for entry in listed.list():
            parts = entry.keys(FACT_KEYS)
            for key in FACT_KEYS:
                if key not in parts:
                    raise entry.wrong(f"has no {key}", f"a fact has {', '.join(FACT_KEYS)}")
            yield Fact(
                language=language,
                questions=parts["ask"].texts(),
                answer=parts["answer"].text(),
                expects=parts["expects"].texts(),
            )


def _claims(entries: dict[str, Entry]) -> Iterator[Fact]:
    for language, listed in _by_language(entries, "must"):
        yield from claimed(language, listed.texts())
    for language, listed in _by_language(entries, "must_not"):
        yield from denied(language, listed.texts())
    if "base_model" in entries:
        yield from made_from(_base_model(entries))


def _filled(fact: Fact, persona: Persona) -> Fact:
    def fill(text: str) -> str:
        return persona.fill(text, fact.language)

    return Fact(
        language=fact.language,
        questions=tuple(map(fill, fact.questions)),
        answer=fill(fact.answer),
        expects=tuple(map(fill, fact.expects)),
    )
