"""``selfhood init``: an example of a persona's file, to be filled in."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from selfhood import console
from selfhood.errors import FlagError
from selfhood.files import write_atomic
from selfhood.persona import Bilingual
from selfhood.recipe import InitOptions

SCHEMA = "persona.schema.json"


def run(options: InitOptions) -> int:
    asked = options.persona_file
    path = Path(asked.file).expanduser()
    name = Bilingual.from_flag("--model_name", asked.model_name)
    author = Bilingual.from_flag("--model_author", asked.model_author)
    if path.exists():
        raise FlagError("is there already", where=str(path), hint="name another file")
    write_atomic(path, example(name, author))
    schema = path.with_name(SCHEMA)  # where the example's first line sends an editor
    if not schema.exists():
        write_atomic(schema, bundled("schema.json"))
    console.result(f"persona: {path}")
    console.say(f"fill it in, then: selfhood plan --model MODEL --persona {path}")
    return 0


def example(name: Bilingual, author: Bilingual) -> str:
    """The commented example with this name and author in it."""
    words = {"NAME": name, "AUTHOR": author}
    text = bundled("example.yaml")
    for mark, word in words.items():
        text = text.replace(f"@{mark}_ZH@", _quoted(word.zh)).replace(
            f"@{mark}_EN@", _quoted(word.en)
        )
    return text


def bundled(file: str) -> str:
    return files("selfhood.data").joinpath("persona", file).read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
