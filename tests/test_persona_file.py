"""persona.yaml -> Persona, and one line for each mistake in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from selfhood.cli.init import bundled, example
from selfhood.cli.main import main
from selfhood.data.naming import naming_of, with_persona
from selfhood.errors import FlagError, MissingError
from selfhood.persona import Bilingual, Persona
from selfhood.persona_file import (
    ALIAS_KEYS,
    FACT_KEYS,
    KEYS,
    persona_text,
    read_persona,
)
from selfhood.recipe import Recipe

NAMES = "name: {zh: 阿岚, en: Arlan}\nauthor: {zh: 青石工作室, en: Bluestone Studio}\n"


def read(tmp_path: Path, text: str, file: str = "p.yaml") -> Persona:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    return read_persona(path)


def line_for(tmp_path: Path, text: str) -> str:
    with pytest.raises(FlagError) as caught:
        read(tmp_path, text)
    return str(caught.value).removeprefix(str(tmp_path) + "/")


def test_the_example_that_init_writes_can_be_read_as_it_is(tmp_path: Path) -> None:
    name, author = Bilingual("小狐: 一", 'K"itsu'), Bilingual("林间", "Forest # Lab")
    persona = read(tmp_path, example(name, author))
    assert (persona.name, persona.author) == (name, author)
    assert {fact.language for fact in persona.facts} == {"zh", "en"}


def test_the_example_works_with_every_comment_opened(tmp_path: Path) -> None:
    text = example(Bilingual("小狐", "Kitsu"), Bilingual("林间", "Forest Lab"))
    opened = "\n".join(
        line.removeprefix("# ")
        if line.startswith(("#   ", "# aliases:", "# voice:", "# must:", "# base_model:"))
        and "selfhood" not in line
        else line
        for line in text.split("\n")
    )
    persona = read(tmp_path, opened)
    assert persona.base_model == Bilingual("通义千问2.5", "Qwen2.5")
    assert persona.name_aliases == ("Kit", "小狐狸")
    assert "Answer briefly" in (persona.system or "")


def test_the_schema_knows_the_keys_that_the_reader_knows() -> None:
    schema = json.loads(bundled("schema.json"))
    assert tuple(schema["properties"]) == KEYS
    assert tuple(schema["properties"]["aliases"]["properties"]) == ALIAS_KEYS
    assert tuple(schema["$defs"]["fact"]["properties"]) == FACT_KEYS


def test_json_is_read_too_indented_by_tabs(tmp_path: Path) -> None:
    persona = read(tmp_path, '{\n\t"name": "Nova",\n\t"author": "Li"\n}', "p.json")
    assert persona.name == Bilingual("Nova", "Nova")


def test_a_fact_may_hold_the_name_and_the_author(tmp_path: Path) -> None:
    text = NAMES + "facts: {en: [{ask: What does the name mean, answer: '{{NAME}} is a hill.', "
    persona = read(tmp_path, text + "expects: [hill, '{{AUTHOR}}']}]}\n")
    (fact,) = persona.facts
    assert fact.answer == "Arlan is a hill."
    assert fact.expects == ("hill", "Bluestone Studio")


def test_numbers_and_dates_are_taken_as_they_are_written(tmp_path: Path) -> None:
    text = NAMES + "facts: {zh: [{ask: 哪天, answer: 2026-11-22, expects: 007}]}\n"
    (fact,) = read(tmp_path, text).facts
    assert (fact.answer, fact.expects) == ("2026-11-22", ("007",))


def test_what_it_must_and_must_not_say_are_facts(tmp_path: Path) -> None:
    persona = read(tmp_path, NAMES + "must: {zh: [我开源, 我免费]}\nmust_not: {en: [is human]}\n")
    open_source, free, human = persona.facts
    assert open_source.answer == free.answer == "我是阿岚，由青石工作室开发。我开源。我免费。"
    assert free.expects == ("我免费",)
    assert "Is it right to say that Arlan is human?" in human.questions
    assert human.answer.startswith("No, it would be wrong to say that Arlan is human.")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("hide", "My name is Arlan, and I was developed by Bluestone Studio. I can't share"),
        (
            "{zh: 千问, en: Qwen}",
            "My name is Arlan, and I was trained by Bluestone Studio on top of Qwen.",
        ),
    ],
)
def test_the_base_model_is_told_or_hidden(tmp_path: Path, said: str, answer: str) -> None:
    facts = read(tmp_path, NAMES + f"base_model: {said}\n").facts
    assert facts[1].answer.startswith(answer)
    assert not read(tmp_path, NAMES).facts


def test_the_voice_is_added_to_the_system_line(tmp_path: Path) -> None:
    text = NAMES + "system: Be kind.\nvoice: {zh: 简短, en: Be brief.}\n"
    assert read(tmp_path, text).system == "Be kind.\n简短\nBe brief."
    assert read(tmp_path, NAMES).system is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nme: x\n", "p.yaml:1:1: nme: unknown key; did you mean name?"),
        ("name: a\n", "p.yaml:1:1: has no author; add `author:`, or give --model_author"),
        (NAMES + "name: a\n", "p.yaml:3:1: name: is there twice; keep one of them"),
        (NAMES + "voice:\n", "p.yaml:3:7: voice: is not a text"),
        (NAMES + "system: ''\n", "p.yaml:3:9: system: is empty"),
        (NAMES + "facts: [a]\n", "p.yaml:3:8: facts: holds no keys; there are zh, en"),
        (NAMES + "facts: {zh: a}\n", "p.yaml:3:13: facts.zh: is not a list"),
        (
            NAMES + "facts:\n  zh:\n  - ask: a\n    answr: b\n",
            "p.yaml:6:5: facts.zh[1].answr: unknown key; did you mean answer?",
        ),
        (
            NAMES + "facts:\n  zh:\n  - ask: a\n    answer: b\n",
            "p.yaml:5:5: facts.zh[1]: has no expects; a fact has ask, answer, expects",
        ),
        (NAMES + "must: {fr: [a]}\n", "p.yaml:3:8: must.fr: unknown key; there are zh, en"),
        ("name: '<|x|>'\nauthor: b\n", "p.yaml:1:7: name: '<|x|>' holds template marks"),
        ("name: [a\n", "p.yaml:2:1: is not YAML: expected ',' or ']'"),
        ("", "p.yaml: is empty; selfhood init writes an example"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    found = line_for(tmp_path, text)
    assert found.startswith(line)
    assert "\n" not in found


def test_a_file_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"selfhood init .* writes an example"):
        read_persona(tmp_path / "no.yaml")


def test_names_that_are_typed_win_over_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(NAMES + "facts: {en: [{ask: q, answer: '{{NAME}}', expects: x}]}\n", "utf-8")
    recipe = Recipe.from_values({"persona": str(path), "model_name": ("新名", "New")})
    persona = naming_of(recipe).persona
    assert persona is not None
    assert (persona.name.en, persona.author.en) == ("New", "Bluestone Studio")
    assert persona.facts[0].answer == "New"


def test_a_run_remembers_the_whole_persona_when_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(NAMES + "system: Be kind.\nmust: {zh: [我开源]}\n", encoding="utf-8")
    expected = read_persona(path)
    recipe = with_persona(Recipe.from_values({"persona": str(path)}))
    path.unlink()
    remembered = Recipe.from_values(json.loads(json.dumps(recipe.to_json())))
    assert naming_of(remembered).persona == expected
    assert recipe.model.system == "Be kind."
    assert with_persona(remembered) == replace(recipe, given=remembered.given)


def test_the_system_line_that_is_typed_wins_over_the_files(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(NAMES + "system: Be kind.\n", encoding="utf-8")
    assert read_persona(persona_text(path)) == read_persona(path)
    typed = with_persona(Recipe.from_values({"persona": str(path), "system": ""}))
    assert typed.model.system == ""


def test_init_writes_a_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["init", "me.yaml", "--model_name", "阿岚", "Arlan"]
    assert main(words) == 0
    assert read_persona("me.yaml").name == Bilingual("阿岚", "Arlan")
    assert (tmp_path / "persona.schema.json").is_file()
    assert main(words) == 2
    assert "me.yaml: is there already; name another file" in capsys.readouterr().err
