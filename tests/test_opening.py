"""A checkpoint remembers its model and its system line; what is typed wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfhood.errors import FlagError, MissingError
from selfhood.opening import Opening, find_opening
from selfhood.recipe import ModelOptions


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def model(path: str) -> Path:
    Path(path).mkdir(parents=True)
    Path(path, "config.json").write_text("{}")
    return Path(path)


def adapter(path: str, base: str | None = None, **args: Any) -> str:
    Path(path).mkdir(parents=True)
    Path(path, "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    if args:
        Path(path, "args.json").write_text(json.dumps(args))
    return path


def opened(**options: Any) -> Opening:
    return find_opening(ModelOptions(**options))


def test_an_adapter_is_called_as_the_command_line_says() -> None:
    model("base")
    named = [f"{name}={adapter(name, 'base')}" for name in ("fox", "小狐")]
    opening = opened(adapters=(*named, adapter("out/plain", "base")))
    assert opening.names == ("fox", "小狐", "plain")
    assert [str(each.path) for each in opening.checkpoints] == ["fox", "小狐", "out/plain"]


def test_a_folder_with_an_equals_sign_is_a_folder() -> None:
    model("base")
    assert opened(adapters=(adapter("a=b", "base"),)).names == ("a=b",)
    assert opened(adapters=(f"fox={adapter('c=d', 'base')}",)).names == ("fox",)


def test_two_adapters_cannot_be_called_alike() -> None:
    model("base")
    with pytest.raises(FlagError, match="two are called fox"):
        opened(adapters=(f"fox={adapter('a', 'base')}", f"fox={adapter('b', 'base')}"))


def test_the_adapter_alone_is_enough() -> None:
    model("base")
    one = adapter("out/checkpoint-1", model="base", system="你是小狐。", torch_dtype="bfloat16")
    opening = opened(adapters=(one,))
    assert (opening.model_path, opening.system) == (Path("base"), "你是小狐。")
    assert opening.options.torch_dtype == "bfloat16"


def test_an_adapter_of_another_tool_names_its_base_itself() -> None:
    model("base")
    assert opened(adapters=(adapter("a", base="base"),)).model_path == Path("base")


def test_what_is_typed_wins_over_what_is_remembered() -> None:
    model("base"), model("other")
    one = adapter("a", model="base", system="old")
    opening = opened(adapters=(one,), model="other", system="new")
    assert (opening.model_path, opening.system) == (Path("other"), "new")
    assert opened(adapters=(one,), system="").system == ""


def test_either_flag_takes_either_kind_of_folder() -> None:
    base = str(model("base"))
    one = adapter("a", model="base")
    assert opened(model=one).checkpoints[0].path == Path("a")
    assert opened(adapters=(base,)).model_path == Path("base")
    assert opened(adapters=(base,)).checkpoints == ()


def test_a_model_that_moved_together_with_the_run_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model("project/base")
    one = adapter("project/output/v0-a/checkpoint-1", model="/old/place/base")
    assert opened(adapters=(one,)).model_path == tmp_path / "project/base"


def test_a_model_that_is_gone_is_explained() -> None:
    one = adapter("a", model="/old/place/base")
    with pytest.raises(MissingError, match=r"say where /old/place/base is now, with --model"):
        opened(adapters=(one,))


def test_an_adapter_that_names_no_model_asks_for_one() -> None:
    with pytest.raises(FlagError, match="does not say which model it belongs to; name it"):
        opened(adapters=(adapter("a"),))


def test_neither_model_nor_adapter_is_an_error() -> None:
    with pytest.raises(FlagError, match="--model: is missing"):
        opened()


def test_adapters_that_are_called_alike_are_told_apart() -> None:
    model("base")
    same = [adapter(f"{run}/checkpoint-1", model="base") for run in ("v0-a", "v1-b")]
    assert opened(adapters=tuple(same)).names == ("v0-a/checkpoint-1", "v1-b/checkpoint-1")
    other = adapter("v1-b/checkpoint-2", model="base")
    assert opened(adapters=(same[0], other)).names == ("checkpoint-1", "checkpoint-2")
