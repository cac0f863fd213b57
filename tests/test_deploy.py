"""``selfhood deploy`` as a process: a real engine behind it, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from selfhood.files import write_json
from selfhood.model.adapters import attach, save_weights, trainable
from selfhood.recipe import TunerOptions
from tests.serving import wait_until
from tests.test_serve_openai import ask, client_of
from tests.tiny import tiny_model, tiny_network, tiny_tokenizer

SOURCE = Path(__file__).parents[1] / "src"
SYSTEMS = {"fox": "You are Fox.", "owl": "You are Owl."}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and two adapters on it that say different things."""
    import torch

    folder = tmp_path_factory.mktemp("house")
    tiny_model(folder / "tiny")
    for number, (name, system) in enumerate(SYSTEMS.items(), start=1):
        tuned = attach(tiny_network(), TunerOptions(), base=str(folder / "tiny"), seed=number)
        torch.manual_seed(number)
        with torch.no_grad():
            for _, weight in trainable(tuned):
                weight.copy_(torch.randn(weight.shape))
        save_weights(tuned, tiny_tokenizer(), folder / name)
        write_json(folder / name / "args.json", {"system": system})
    return folder


@dataclass
class Process:
    """A server that was started; ``said`` are its lines so far."""

    popen: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        address = next(line for line in self.said if line.startswith("serving "))
        return f"http://127.0.0.1:{address.removesuffix('/v1').rpartition(':')[2]}"

    def listen(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.said.append(line.rstrip())

    def is_up(self) -> bool:
        assert self.popen.poll() is None, self.said
        return any(line.startswith("serving ") for line in self.said)


@contextmanager
def deployed(*flags: str, **environment: str) -> Iterator[Process]:
    words = [sys.executable, "-m", "selfhood", "deploy", "--port", "0", *flags]
    settings = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", **environment}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=settings
    ) as popen:
        process = Process(popen)
        listening = threading.Thread(target=process.listen)
        listening.start()
        try:
            wait_until(process.is_up, 120)
            yield process
        finally:
            popen.kill()
            popen.wait()
            listening.join()


def names(house: Path) -> list[str]:
    return ["--model", str(house / "tiny"), "--adapters"] + [f"{n}={house / n}" for n in SYSTEMS]


def test_a_server_with_a_key_answers_as_each_identity_and_sigterm_ends_it_well(
    house: Path,
) -> None:
    key = "a-key-of-nobody"
    flags = [*names(house), "--host", "0.0.0.0", "--adapters_root", str(house)]
    with deployed(*flags, SELFHOOD_API_KEY=key) as process:
        with client_of(process.url, key=key) as client:
            said = [
                ask(client, "Hi", name, max_tokens=12, temperature=0).choices[0].message.content
                for name in ("tiny", "fox", "owl")
            ]
            assert len(set(said)) == 3
            stream = ask(client, "Hi", "fox", stream=True, max_tokens=100, temperature=1.5)
            next(iter(stream))
            process.popen.send_signal(signal.SIGTERM)
            ends = [chunk.choices[0].finish_reason for chunk in stream]
            assert ends[-1] in ("stop", "length"), "a reply under way is finished"
        assert process.popen.wait(60) == 0
        assert process.popen.stdout is not None and process.popen.stdout.read() == ""
    assert not any("Hi" in line or key in line for line in process.said)


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(house: Path) -> None:
    with deployed(*names(house)) as process, client_of(process.url) as client:
        stream = ask(client, "Hi", "fox", stream=True, max_tokens=3000, temperature=1.5)
        next(iter(stream))
        process.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: any(line.startswith("ending ") for line in process.said))
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(5) == 130


@pytest.mark.slow
def test_after_sigkill_nothing_is_left_and_the_port_is_free(house: Path, tmp_path: Path) -> None:
    before = sorted(house.rglob("*"))
    with deployed(*names(house), TMPDIR=str(tmp_path)) as process:
        port = int(process.url.rpartition(":")[2])
        with client_of(process.url) as client:
            ask(client, "Hi", "fox", max_tokens=3)
        process.popen.kill()
        process.popen.wait()
        with socket.create_server(("127.0.0.1", port)):
            pass
    assert sorted(house.rglob("*")) == before and list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_one_line_before_anything_is_loaded(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from selfhood.cli.main import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["deploy", "--model", str(house / "tiny"), "--port", port]) == 2
    assert "--port: cannot listen on 127.0.0.1" in capsys.readouterr().err
