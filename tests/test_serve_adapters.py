"""Adapters come and go by name, and only those that lie in the root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from selfhood.files import write_json
from selfhood.model.base_hash import write_base
from tests.parrot import Parrot
from tests.serving import BASE, Running, served
from tests.tiny import tiny_model


def adapter(folder: Path, system: str | None = None) -> Path:
    """Enough of one for a host that reads no weights."""
    folder.mkdir(parents=True)
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "tiny"})
    (folder / "adapter_model.safetensors").write_bytes(b"")
    if system is not None:
        write_json(folder / "args.json", {"system": system})
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    adapter(tmp_path / "root" / "owl", system="You are Owl.")
    adapter(tmp_path / "root" / "小狐" / "v0-20261122-101500" / "checkpoint-8")
    adapter(tmp_path / "secret")
    return tmp_path / "root"


@pytest.fixture
def parrot() -> Parrot:
    return Parrot("fox", pause=0.01)


@pytest.fixture
def server(parrot: Parrot, root: Path) -> Iterator[Running]:
    with served(parrot, root=root) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def load(client: httpx2.Client, name: str, **more: object) -> httpx2.Response:
    return client.post("/v1/load_lora_adapter", json={"lora_name": name, **more})


def unload(client: httpx2.Client, name: str) -> httpx2.Response:
    return client.post("/v1/unload_lora_adapter", json={"lora_name": name})


def ask(client: httpx2.Client, model: str) -> httpx2.Response:
    messages = [{"role": "user", "content": "hi"}]
    return client.post("/v1/chat/completions", json={"model": model, "messages": messages})


def names(client: httpx2.Client) -> list[str]:
    return [each["id"] for each in client.get("/v1/models").json()["data"]]


def test_an_adapter_comes_and_goes_while_others_answer(
    client: httpx2.Client, parrot: Parrot
) -> None:
    assert ask(client, "owl").status_code == 404
    assert load(client, "owl").status_code == 200
    assert names(client) == [BASE, "fox", "owl"]
    assert ask(client, "owl").json()["choices"][0]["message"]["content"] == "owl: hi"
    assert parrot.requests[-1].messages[0].content == "You are Owl.", "its own system line"
    assert unload(client, "owl").json()["deleted"]
    assert names(client) == [BASE, "fox"]
    assert ask(client, "owl").status_code == 404
    assert load(client, "owl").status_code == 200, "and again"


def test_a_run_folder_stands_for_its_last_checkpoint(client: httpx2.Client) -> None:
    assert load(client, "小狐").status_code == 200
    assert ask(client, "小狐").json()["choices"][0]["message"]["content"] == "小狐: hi"


@pytest.mark.parametrize(
    "name",
    [
        "..", ".", "../secret", "../../etc", "/etc/passwd", "owl/", "./owl", "owl/../owl",
        "owl\x00", "owl\n", "OWL", "ｏｗｌ", "оwl", "owl\u200b", "owl\u0301", "小狐\ufe00",
        "~", "~root", "C:\\owl", "..\\secret", "%2e%2e", "-", "x" * 5000, "secret",
    ],
)  # fmt: skip
def test_a_name_that_is_not_exactly_one_in_the_root_is_not_there(
    client: httpx2.Client, name: str
) -> None:
    answer = load(client, name)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "adapter_not_found"
    assert names(client) == [BASE, "fox"]


def test_look_alikes_are_not_loaded_even_where_they_lie_in_the_root(
    client: httpx2.Client, root: Path
) -> None:
    for name in ("оwl", "ｏｗｌ", ".hidden", "a b"):
        adapter(root / name)
        assert load(client, name).status_code == 404


def test_no_link_leads_out_of_the_root(client: httpx2.Client, root: Path) -> None:
    (root / "way-out").symlink_to(root.parent / "secret")
    half = adapter(root / "half")
    (half / "adapter_model.safetensors").unlink()
    (half / "adapter_model.safetensors").symlink_to(
        root.parent / "secret" / "adapter_model.safetensors"
    )
    (root / "run").mkdir()
    (root / "run" / "checkpoint-1").symlink_to(root.parent / "secret")
    (root / "inside").symlink_to(root / "owl")
    for name in ("way-out", "half", "run"):
        answer = load(client, name)
        assert answer.status_code == 403
        assert str(root) not in answer.text
    assert load(client, "inside").status_code == 200


def test_no_paths_are_taken(client: httpx2.Client, root: Path) -> None:
    answer = load(client, "owl", lora_path=str(root / "owl"))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "lora_path")


def test_what_is_there_is_not_loaded_over(client: httpx2.Client, root: Path) -> None:
    adapter(root / "fox")
    adapter(root / BASE)
    assert load(client, "fox").status_code == 409
    assert load(client, BASE).status_code == 409


def test_the_base_stays(client: httpx2.Client) -> None:
    assert unload(client, BASE).status_code == 400
    assert unload(client, "nobody").status_code == 404


def test_a_folder_without_weights_is_an_error_without_its_path(
    client: httpx2.Client, root: Path
) -> None:
    (adapter(root / "hollow") / "adapter_model.safetensors").unlink()
    answer = load(client, "hollow")
    assert answer.status_code == 400
    assert "holds no adapter_model.safetensors" in answer.text and str(root) not in answer.text


def test_an_adapter_of_another_base_is_refused(parrot: Parrot, root: Path) -> None:
    model = tiny_model(root.parent / "tiny")
    write_base(adapter(root / "mine"), model)
    write_base(adapter(root / "strange"), tiny_model(root.parent / "other", seed=1))
    with served(parrot, root=root, model_path=model) as server, server.client() as client:
        assert load(client, "mine").status_code == 200
        answer = load(client, "strange")
    assert answer.status_code == 400
    assert "was trained on another base model" in answer.text and str(root) not in answer.text


def test_without_a_root_nothing_is_loaded(parrot: Parrot) -> None:
    with served(parrot) as server, server.client() as client:
        assert load(client, "owl").status_code == 403


def test_a_reply_that_has_begun_is_finished_though_its_speaker_goes(
    client: httpx2.Client, server: Running
) -> None:
    load(client, "owl")
    table = {
        "model": "owl",
        "messages": [{"role": "user", "content": "SAY a b c d"}],
        "stream": True,
    }
    with client.stream("POST", "/v1/chat/completions", json=table) as answer:
        lines = answer.iter_lines()
        next(lines)
        with server.client() as other:
            assert unload(other, "owl").status_code == 200
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_the_root_is_read_when_asked_not_before(client: httpx2.Client, root: Path) -> None:
    adapter(root / "new")
    assert load(client, "new").status_code == 200
    (root / "owl").rename(root / "eule")
    assert load(client, "owl").status_code == 404
