"""References become paths: locally, out of a cache, or from a hub served on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfhood.errors import MissingError, SelfhoodError
from selfhood.hub import Hub, choose_hub, find_dataset, find_model
from tests.hub_server import HubServer

HUBS = pytest.mark.parametrize("hub", list(Hub))
ENDPOINTS = ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
TOKEN = "secret-token-of-a-test"


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache, token, proxy or switch of the machine that runs the tests."""
    for name in (*PROXIES, "HF_HUB_OFFLINE", "HF_HOME", "MODELSCOPE_DOMAIN"):
        monkeypatch.delenv(name, raising=False)
    caches = ("HF_HUB_CACHE", "MODELSCOPE_CACHE", "MODELSCOPE_HOME", "SELFHOOD_CACHE")
    for name in caches:
        monkeypatch.setenv(name, str(tmp_path / "caches" / name))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    for name in ENDPOINTS:
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(tmp_path / "hub") as hub:
        for name in ENDPOINTS:
            monkeypatch.setenv(name, hub.url)
        yield hub


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def add_model(server: HubServer, name: str, **more: bytes) -> dict[str, bytes]:
    contents = {"config.json": b"{}", "model.safetensors": b"weights" * 9999, **more}
    write(server.folder / "models" / name, contents)
    return contents


# Which hub


def test_modelscope_is_the_default_hub() -> None:
    assert choose_hub(None, {}) is Hub.MODELSCOPE
    assert choose_hub(None, {"USE_HF": "0"}) is Hub.MODELSCOPE


def test_use_hf_is_read_from_the_environment_and_the_flag_wins() -> None:
    assert choose_hub(None, {"USE_HF": "1"}) is Hub.HUGGING_FACE
    assert choose_hub(True, {}) is Hub.HUGGING_FACE
    assert choose_hub(False, {"USE_HF": "1"}) is Hub.MODELSCOPE


# On this disk


def test_an_existing_folder_is_taken_before_any_hub(tmp_path: Path) -> None:
    folder = write(tmp_path / "Qwen2.5-7B-Instruct", {"config.json": b"{}"})
    assert find_model("Qwen2.5-7B-Instruct", hub=Hub.MODELSCOPE).resolve() == folder


def test_a_gguf_file_is_a_model(tmp_path: Path) -> None:
    write(tmp_path, {"my.gguf": b"GGUF"})
    assert find_model("my.gguf", hub=Hub.MODELSCOPE) == Path("my.gguf")


def test_a_mistyped_path_lists_its_near_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "output" / "checkpoint-31", {"config.json": b"{}"})
    with pytest.raises(MissingError, match="did you mean output/checkpoint-31"):
        find_model("./output/checkpoint-13", hub=Hub.MODELSCOPE)


@pytest.mark.parametrize("path", ["./no", "/no/such", "~/no", "no.gguf", "no/such/folder", "no/"])
def test_what_looks_like_a_path_is_not_asked_of_a_hub(server: HubServer, path: str) -> None:
    with pytest.raises(MissingError, match="no such file or folder"):
        find_model(path, hub=Hub.MODELSCOPE)
    assert server.requests == []


@pytest.mark.parametrize(
    "text", ["<model_id_or_path>", "</path/to/Qwen2.5-0.5B-Instruct>", "/path/to/model"]
)
def test_the_placeholder_of_a_tutorial_is_recognised(text: str) -> None:
    with pytest.raises(MissingError, match="tutorial's placeholder"):
        find_model(text, hub=Hub.MODELSCOPE)


def test_a_name_that_no_hub_can_have_is_refused_at_once() -> None:
    with pytest.raises(MissingError, match="neither a path on this disk nor a dataset id"):
        find_dataset("my data", hub=Hub.MODELSCOPE)


# From a hub


@HUBS
def test_a_model_is_downloaded_whole_but_without_pickles_and_code(
    server: HubServer, hub: Hub
) -> None:
    contents = add_model(server, "me/fox")
    unwanted = ("pytorch_model.bin", "modeling_fox.py", "old.pt", "original/model.safetensors")
    write(server.folder / "models/me/fox", dict.fromkeys(unwanted, b"x"))
    folder = find_model("me/fox", hub=hub)
    found = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == contents


@HUBS
def test_a_dataset_is_downloaded_with_its_subfolders(server: HubServer, hub: Hub) -> None:
    write(server.folder / "datasets/me/rows", {"data/train.jsonl": b"{}\n", "rows.py": b""})
    folder = find_dataset("me/rows", hub=hub)
    assert (folder / "data/train.jsonl").read_bytes() == b"{}\n"
    assert not (folder / "rows.py").exists()


@HUBS
def test_what_was_downloaded_is_used_again_without_the_network(server: HubServer, hub: Hub) -> None:
    add_model(server, "me/fox")
    write(server.folder / "datasets/me/rows", {"train.jsonl": b"{}\n"})
    model, dataset = find_model("me/fox", hub=hub), find_dataset("me/rows", hub=hub)
    server.requests.clear()
    assert find_model("me/fox", hub=hub) == model
    assert find_dataset("me/rows", hub=hub) == dataset
    assert server.requests == []


@HUBS
def test_a_cached_model_that_lacks_a_shard_is_completed(server: HubServer, hub: Hub) -> None:
    shards = {f"model-{n}-of-2.safetensors": b"weights" * n for n in (1, 2)}
    index = json.dumps(
        {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    )
    add_model(server, "me/fox", **shards, **{"model.safetensors.index.json": index.encode()})
    folder = find_model("me/fox", hub=hub)
    (folder / "model-2-of-2.safetensors").unlink()
    assert (
        find_model("me/fox", hub=hub) / "model-2-of-2.safetensors"
    ).read_bytes() == b"weights" * 2


@HUBS
def test_progress_counts_the_bytes_to_the_end(server: HubServer, hub: Hub) -> None:
    contents = add_model(server, "me/fox")
    seen: list[tuple[str, int, int]] = []
    find_model("me/fox", hub=hub, on_progress=lambda *step: seen.append(step))
    size = sum(map(len, contents.values()))
    assert seen[0][0].startswith("asking")
    assert seen[-1] == ("downloading", size, size)


@HUBS
def test_the_client_draws_nothing(
    server: HubServer, hub: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    add_model(server, "me/fox")
    find_model("me/fox", hub=hub)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("place", ["models/me--fox/snapshots/master", "hub/models/me/fox"])
def test_a_whole_model_that_another_tool_fetched_from_modelscope_is_used(
    server: HubServer, tmp_path: Path, place: str
) -> None:
    contents = {"config.json": b"{}", "model.safetensors": b"weights"}
    folder = write(tmp_path / "caches/MODELSCOPE_CACHE" / place, contents)
    assert find_model("me/fox", hub=Hub.MODELSCOPE) == folder
    assert server.requests == []


def test_a_bare_model_name_is_one_of_qwen(server: HubServer) -> None:
    add_model(server, "Qwen/Qwen2.5-7B-Instruct")
    assert find_model("Qwen2.5-7B-Instruct", hub=Hub.MODELSCOPE).is_dir()


@pytest.mark.parametrize(("prefix", "mark"), [("hf", "resolve"), ("MS", "/api/v1/")])
def test_a_prefix_overrides_the_hub(server: HubServer, prefix: str, mark: str) -> None:
    add_model(server, "me/fox")
    other = Hub.MODELSCOPE if prefix == "hf" else Hub.HUGGING_FACE
    find_model(f"{prefix}::me/fox", hub=other)
    assert mark in server.requests[-1]


def test_self_cognition_is_found_under_its_name_on_either_hub(server: HubServer) -> None:
    write(server.folder / "datasets/swift/self-cognition", {"a.jsonl": b"{}"})
    write(server.folder / "datasets/modelscope/self-cognition", {"b.jsonl": b"{}"})
    assert (find_dataset("swift/self-cognition", hub=Hub.MODELSCOPE) / "a.jsonl").is_file()
    assert (find_dataset("self-cognition", hub=Hub.HUGGING_FACE) / "b.jsonl").is_file()


# What can go wrong


@HUBS
def test_an_unknown_id_names_the_hub_and_the_other_one(server: HubServer, hub: Hub) -> None:
    with pytest.raises(MissingError) as caught:
        find_model("me/nobody", hub=hub)
    title, other = ("ModelScope", "HF") if hub is Hub.MODELSCOPE else ("Hugging Face", "MS")
    assert title in caught.value.what
    assert caught.value.where == "me/nobody"
    assert f"{other}::me/nobody" in str(caught.value.hint)


@HUBS
def test_an_unknown_revision_is_named(server: HubServer, hub: Hub) -> None:
    add_model(server, "me/fox")
    with pytest.raises(MissingError, match="revision 'v9'"):
        find_model("me/fox", hub=hub, revision="v9")


@HUBS
def test_a_gated_model_says_which_variable_holds_the_token(server: HubServer, hub: Hub) -> None:
    add_model(server, "me/gated")
    server.gated.add("me/gated")
    with pytest.raises(MissingError) as caught:
        find_model("me/gated", hub=hub)
    variable = "MODELSCOPE_API_TOKEN" if hub is Hub.MODELSCOPE else "HF_TOKEN"
    assert variable in str(caught.value)
    assert TOKEN not in str(caught.value)


@HUBS
def test_a_model_with_only_pickled_weights_is_refused(server: HubServer, hub: Hub) -> None:
    write(server.folder / "models/me/old", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(MissingError, match="no safetensors weights"):
        find_model("me/old", hub=hub)


@HUBS
def test_offline_fails_in_seconds_and_says_what_to_do(hub: Hub) -> None:
    started = time.monotonic()
    with pytest.raises(SelfhoodError, match=r"connection refused.*give a model on this disk"):
        find_model("me/fox", hub=hub)
    assert time.monotonic() - started < 2


@HUBS
def test_a_server_that_never_answers_is_given_up_after_seconds(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfhood.hubs.reach.SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        for name in ENDPOINTS:
            monkeypatch.setenv(name, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(SelfhoodError, match="no answer"):
            find_dataset("me/rows", hub=hub)


@HUBS
def test_self_cognition_offline_points_to_the_built_in_dataset(hub: Hub) -> None:
    with pytest.raises(SelfhoodError, match="use `--dataset identity`, which ships with selfhood"):
        find_dataset("swift/self-cognition", hub=hub)


def test_a_proxy_that_is_down_is_noticed(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(SelfhoodError, match="cannot be asked: connection refused"):
        find_model("me/fox", hub=Hub.HUGGING_FACE)


def test_hf_hub_offline_asks_nobody(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    add_model(server, "me/fox")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SelfhoodError, match="HF_HUB_OFFLINE is set"):
        find_model("me/fox", hub=Hub.HUGGING_FACE)
    assert server.requests == []


def test_an_unknown_dataset_offline_is_answered_without_a_client_or_torch() -> None:
    script = (
        "import sys\nfrom selfhood.hub import Hub, find_dataset\n"
        "try: find_dataset('me/rows', hub=Hub.MODELSCOPE)\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print([m for m in ('torch', 'requests', 'modelscope_hub') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env=environment,
    )
    assert done.stdout == "SelfhoodError\n[]\n"
