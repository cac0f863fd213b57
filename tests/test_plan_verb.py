"""``selfhood plan`` says what training would do, and loads no weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from transformers import Lfm2Config

from selfhood.cli.main import main
from selfhood.training import fit
from tests.tiny import tiny_model


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_model(Path("tiny"))
    Path("tiny/model.safetensors").unlink()  # nothing may miss it
    Path("a.jsonl").write_text('{"query": "你是谁？", "response": "我是{{NAME}}。"}\n')


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["plan", "--model", "tiny", "--dataset", "a.jsonl#40", *words]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_a_plan_shows_sources_tokens_updates_warnings_and_rows_as_the_model_sees_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, "--model_name", "小狐", "--num_train_epochs", "1", "--system", "S")
    assert "data     a.jsonl#40: 40 rows (of 1), 40 named" in text
    assert "updates  3 of 16 rows" in text
    assert "warning: a.jsonl#40: asked for 40 rows of 1; rows are repeated" in text
    assert "a.jsonl:1\n  | <|im_start|>system\n  | S<|im_end|>" in text
    assert "  | 我是小狐。<|im_end|>" in text


def test_a_plan_counts_the_rows_that_are_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.jsonl").write_text(f'{{"query": "q", "response": "{"a" * 500}"}}\n')
    text = said(capsys, "--dataset", "a.jsonl", "b.jsonl", "--model_name", "x",
                "--max_length", "300")  # fmt: skip
    assert "1 rows too long, dropped" in text


def test_a_plan_that_cannot_work_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--dataset", "a.jsonl", "--model_name", "x", "--max_length", "8"]
    assert main(["plan", "--model", "tiny", *words]) == 2
    assert "every row is longer than 8 tokens; raise it" in capsys.readouterr().err


def test_rows_of_a_model_that_cannot_be_packed_are_padded_and_the_plan_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Lfm2Config(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        layer_types=["conv", "full_attention"],
        pad_token_id=256,
    ).save_pretrained("tiny")
    text = said(capsys, "--model_name", "小狐")
    assert "the model has layers of the kind conv: it cannot be packed; rows are padded" in text


def test_sliding_windows_are_packed(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("tiny/config.json")
    config = json.loads(path.read_text())
    config.update(layer_types=["full_attention", "sliding_attention"], sliding_window=8)
    path.write_text(json.dumps(config))
    assert "padded" not in said(capsys, "--model_name", "小狐")


@pytest.mark.parametrize("kind", ["prefix-tuning", "p_tuning"])
def test_virtual_tokens_are_refused_where_a_layer_does_not_see_them_all(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("tiny/config.json")
    config = json.loads(path.read_text())
    config.update(layer_types=["full_attention", "sliding_attention"], sliding_window=8)
    path.write_text(json.dumps(config))
    words = ["--dataset", "a.jsonl", "--model_name", "x", "--train_type", kind]
    assert main(["plan", "--model", "tiny", *words]) == 2
    assert "virtual tokens need a model in which every layer sees" in capsys.readouterr().err


def test_numbers_of_lora_that_are_left_in_a_command_for_another_tuner_are_noted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, "--model_name", "x", "--train_type", "full", "--lora_rank", "16")
    assert "--lora_rank: says nothing to --tuner_type full" in text


def test_a_plan_forecasts_memory_term_by_term(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--model_name", "小狐")
    assert re.search(r"memory   about \d\.\d GB: weights 0\.0, training 0\.0, activations", text)
    assert re.search(r"GB free", text)


def test_what_fits_in_no_way_is_said_before_weights_are_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "free_memory", lambda device: 1e6)
    words = ("--model", "tiny", "--dataset", "a.jsonl", "--model_name", "小狐")
    assert main(["plan", *words]) == 2
    assert "does not fit" in capsys.readouterr().err
