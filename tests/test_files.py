"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selfhood.errors import InputError, MissingError, SelfhoodError
from selfhood.files import hash_text, new_folder, read_json, write_atomic, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_atomic(path, "old")
    write_json(path, {"名": 1})
    assert path.read_text("utf-8") == '{\n  "名": 1\n}\n'
    assert names(path.parent) == ["a.json"]


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SelfhoodError, match="cannot be written: File exists"):
        write_atomic(tmp_path / "file" / "a.json", "x")
    with pytest.raises(SelfhoodError, match="cannot be written"), new_folder(tmp_path / "file/a"):
        pass


def test_a_new_folder_appears_when_the_block_has_ended_well(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("x")
        assert not out.exists()
    assert (out / "sub" / "a").read_text() == "x"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_folder(
    tmp_path: Path, error: type[BaseException]
) -> None:
    out = tmp_path / "out"
    with new_folder(out) as folder:
        (folder / "old").touch()
    with pytest.raises(error), new_folder(out) as folder:
        (folder / "new").touch()
        raise error
    assert names(out) == ["old"]
    assert names(tmp_path) == ["out"]


def test_an_old_folder_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("old", "new"):
        with new_folder(out) as folder:
            (folder / name).touch()
    assert names(out) == ["new"]
    assert names(tmp_path) == ["out"]


def test_a_relative_name_is_meant_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with new_folder(Path("./out/")) as folder:
        (folder / "a").touch()
    assert names(tmp_path / "out") == ["a"]


def test_json_that_is_not_there_or_is_none_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(MissingError, match=r"a.json: no such file"):
        read_json(path)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_json(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_json(path)


def test_texts_that_are_divided_otherwise_have_another_hash() -> None:
    assert hash_text("ab", "c") != hash_text("a", "bc")
    assert hash_text("ab") == hash_text("ab")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SelfhoodError, match="Permission denied"):
        write_atomic(tmp_path / "a", "x")
