"""Datasets of a hub: fetched once, read as they lie there, subsets and all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfhood.data.mixture import parse_spec
from selfhood.errors import DataError, MissingError, SelfhoodError
from selfhood.hub import Hub
from selfhood.sources import Gathered, SourceSettings, gather
from tests.hub_server import HubServer

ROW = {"query": "q", "response": "a"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_CACHE", "MODELSCOPE_CACHE", "MODELSCOPE_HOME", "SELFHOOD_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "caches" / name))
    monkeypatch.chdir(tmp_path)
    with HubServer(tmp_path / "hub") as server:
        for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(name, server.url)
        yield server


def serve(server: HubServer, path: str, *rows: object) -> None:
    file = server.folder / "datasets" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")


def read(text: str) -> Gathered:
    settings = SourceSettings(hub=Hub.MODELSCOPE, persona=None, seed=1)
    return gather(parse_spec(text), settings, strict=True)


@pytest.mark.parametrize("text", ["me/rows", "MS::me/rows", "HF::me/rows", "me/rows:all"])
def test_the_training_part_is_read_from_either_hub(hub: HubServer, text: str) -> None:
    serve(hub, "me/rows/train.jsonl", ROW, {**ROW, "tag": "zh"})
    serve(hub, "me/rows/test.jsonl", ROW)
    rows = read(text).rows
    assert [(row.origin, row.language) for row in rows] == [
        ("me/rows:1", None),
        ("me/rows:2", "zh"),
    ]


def test_a_subset_is_what_the_card_calls_so(hub: HubServer) -> None:
    serve(hub, "me/rows/zh.jsonl", {**ROW, "response": "zh"})
    serve(hub, "me/rows/en.jsonl", {**ROW, "response": "en"})
    configs = "".join(f"- config_name: {n}\n  data_files: {n}.jsonl\n" for n in ("zh", "en"))
    (hub.folder / "datasets/me/rows/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert [row.turns[-1].content for row in read("me/rows:en").rows] == ["en"]
    with pytest.raises(MissingError, match=r"me/rows:fr: cannot be read: .*fr.*not found"):
        read("me/rows:fr")


def test_a_bad_row_says_its_number(hub: HubServer) -> None:
    serve(hub, "me/rows/train.jsonl", ROW, {"query": "q", "response": None})
    with pytest.raises(DataError, match="me/rows:2: response is null"):
        read("me/rows")


def test_a_file_that_is_broken_is_one_line(hub: HubServer) -> None:
    serve(hub, "me/rows/train.json", ROW)
    (hub.folder / "datasets/me/rows/train.json").write_text('[{"a": 1},')
    with pytest.raises(MissingError, match="me/rows: cannot be read"):
        read("me/rows")


def test_a_repository_without_data_is_one_line(hub: HubServer) -> None:
    (hub.folder / "datasets/me/empty").mkdir(parents=True)
    (hub.folder / "datasets/me/empty/README.md").write_text("nothing")
    with pytest.raises(MissingError, match="me/empty: cannot be read"):
        read("me/empty")


def test_self_cognition_offline_points_to_what_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SelfhoodError, match="use `--dataset identity`"):
        read("swift/self-cognition#500")
