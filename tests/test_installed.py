"""A backend that is not there is one line, with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from selfhood.cli.main import main
from selfhood.engine import installed
from selfhood.engine.installed import vllm_python
from selfhood.engine.vllm import max_rank
from selfhood.errors import InputError
from selfhood.recipe import BackendOptions


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFHOOD_VLLM_PYTHON", raising=False)
    monkeypatch.setattr(installed, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("backend", "hint"), [("vllm", "pip install vllm"), ("llamacpp", "selfhood[llamacpp]")]
)
def test_infer_says_it_before_it_looks_for_the_model(
    backend: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infer", "--model", "no/where", "--infer_backend", backend]) == 2
    said = capsys.readouterr().err
    assert f"--infer_backend {backend}" in said and hint in said


def test_a_python_without_vllm_is_one_line() -> None:
    with pytest.raises(InputError, match=r"has no vllm; .* -m pip install vllm"):
        vllm_python(BackendOptions(vllm_python=sys.executable))


def test_a_python_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be run"):
        vllm_python(BackendOptions(vllm_python=str(tmp_path / "python")))


def test_the_largest_rank_is_that_of_the_adapters() -> None:
    assert max_rank(None, []) is None
    assert [max_rank(None, [rank]) for rank in (4, 8, 9, 64, 300)] == [8, 8, 16, 64, 320]
    assert max_rank(32, [8]) == 32
    with pytest.raises(InputError, match="holds 512 at most"):
        max_rank(None, [1024])
