"""A merged model is an ordinary folder that is the same person, or it is not written at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood import api
from selfhood.chat import Message
from selfhood.data.render import Renderer
from selfhood.errors import FlagError, ProofError
from selfhood.exporters import merged as exporter
from selfhood.exporters.merged import Merged, bake_system, export_merged
from selfhood.model.adapters import load_adapter
from selfhood.model.load import load_model, stored_dtype
from selfhood.opening import Opening, find_opening
from selfhood.recipe import MergeOptions, ModelOptions, Recipe
from tests.tiny import tiny_model, tiny_network, tiny_tokenizer

SYSTEM = "你是{{小狐}}，\"quoted\" 'too' {% raw %} \\n\nNew line."
LINES = {"你是谁？": "我是小狐。", "Who are you?": "I am Kitsu."}
ENDS = [258, 256]
QUESTION = [{"role": "user", "content": "你是谁？"}]


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Opening:
    """A checkpoint that has learned LINES under SYSTEM, on a base with two end tokens."""
    folder = tmp_path_factory.mktemp("merged")
    base = tiny_model(folder / "tiny")
    network = tiny_network()
    with torch.no_grad():
        network.get_input_embeddings().weight.mul_(10)  # so that an answer is no near tie
    network.save_pretrained(base)
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": ENDS}))
    rows = [{"query": query, "response": response} for query, response in LINES.items()]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    recipe = Recipe.from_values(
        {
            "model": str(base),
            "dataset": (str(folder / "rows.json"),),
            "system": SYSTEM,
            "max_steps": 40,
            "learning_rate": 1e-2,
            "output_dir": str(folder / "output"),
        }
    )
    outcome = api.train(api.plan(recipe))
    return find_opening(ModelOptions(adapters=(str(outcome.last.path),)))


@pytest.fixture(scope="module")
def merged(opening: Opening, tmp_path_factory: pytest.TempPathFactory) -> Merged:
    return merge(opening, tmp_path_factory.mktemp("out") / "merged")


def merge(opening: Opening, out: Path, **options: Any) -> Merged:
    return export_merged(opening, MergeOptions(output_dir=str(out), **options))


def stranger(folder: Path) -> tuple[Any, Any]:
    """As anybody would load it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def asked(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(text)


def test_without_a_system_message_the_prompt_is_that_of_training(
    opening: Opening, merged: Merged
) -> None:
    _, tokenizer = stranger(merged.path)
    training_prompt = Renderer(tiny_tokenizer(), SYSTEM).prompt((Message("user", "你是谁？"),))
    assert asked(tokenizer, QUESTION) == training_prompt
    assert SYSTEM in training_prompt


def test_a_system_message_still_wins(merged: Merged) -> None:
    _, tokenizer = stranger(merged.path)
    messages = [{"role": "system", "content": "Be brief."}, *QUESTION]
    assert asked(tokenizer, messages) == asked(tiny_tokenizer(), messages)


def test_its_logits_are_those_of_the_adapter(opening: Opening, merged: Merged) -> None:
    loaded = load_model(opening.model_path, dtype="float32", attention=None)
    tuned = load_adapter(loaded.model, opening.checkpoints[0].path)
    plain, tokenizer = stranger(merged.path)
    ids = tokenizer(asked(tokenizer, QUESTION), return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = tuned(ids).logits
        assert torch.allclose(plain(ids).logits, logits, atol=1e-4, rtol=0)
        with tuned.disable_adapter():
            assert not torch.allclose(tuned(ids).logits, logits, atol=1e-2, rtol=0)


def test_the_folder_is_complete(merged: Merged) -> None:
    names = {path.name for path in merged.path.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"}
    assert "adapter_config.json" not in names
    model, tokenizer = stranger(merged.path)
    assert model.generation_config.eos_token_id == ENDS
    assert tokenizer.eos_token == "<|im_end|>"
    assert model.dtype == torch.float32


def test_every_probe_was_asked(merged: Merged) -> None:
    assert merged.num_probes == 12
    assert merged.num_ties == 0


def test_a_merged_folder_opens_as_a_model_of_its_own(opening: Opening, merged: Merged) -> None:
    again = find_opening(ModelOptions(model=str(merged.path)))
    assert again.checkpoints == ()
    assert again.model_path == merged.path


def test_the_template_stays_as_it_was_with_bake_system_false(
    opening: Opening, tmp_path: Path
) -> None:
    merge(opening, tmp_path / "plain", bake_system=False)
    _, tokenizer = stranger(tmp_path / "plain")
    assert asked(tokenizer, QUESTION) == asked(tiny_tokenizer(), QUESTION)


@pytest.mark.parametrize(
    "system",
    [
        "He said \"yes\" and 'no'",
        "{{ braces }} {% if x %} {# comment #}",
        "line one\nline two\r\n\ttabbed",
        "你是小狐🦊。",
        "back\\slash \\n \\u4f60 \\",
        "%} }} #}",
        "<|im_end|>",
        "é\u2028\x7f\x00",
    ],
)
def test_any_system_line_can_be_baked(system: str) -> None:
    tokenizer = tiny_tokenizer()
    expected = asked(tokenizer, [{"role": "system", "content": system}, *QUESTION])
    tokenizer.chat_template = bake_system(tokenizer.chat_template, system)
    assert asked(tokenizer, QUESTION) == expected


def test_a_merge_that_lost_the_adapter_is_not_written(
    opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda self: self.unload(), raising=False)
    with pytest.raises(ProofError, match="the merged model answers"):
        merge(opening, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_merge_with_one_broken_matrix_is_not_written(
    opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_broken(path: Path, **options: Any) -> Any:
        loaded = load_model(path, **options)
        if path != opening.model_path:
            with torch.no_grad():
                loaded.model.model.layers[1].mlp.down_proj.weight.mul_(-300)
        return loaded

    monkeypatch.setattr(exporter, "load_model", load_broken)
    with pytest.raises(ProofError):
        merge(opening, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_refused_unless_it_may_be_replaced(
    opening: Opening, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep me")
    with pytest.raises(FlagError, match="not a model"):
        merge(opening, out, exist_ok=True)
    (out / "config.json").write_text("{}")
    with pytest.raises(FlagError, match=r"is there already.*--exist_ok"):
        merge(opening, out)
    assert (out / "mine.txt").read_text() == "keep me"
    merge(opening, out, exist_ok=True)
    assert not (out / "mine.txt").exists()
    assert (out / "model.safetensors").exists()


def test_without_an_output_folder_it_lies_beside_the_checkpoint(opening: Opening) -> None:
    made = export_merged(opening, MergeOptions())
    checkpoint = opening.checkpoints[0].path
    assert made.path == checkpoint.with_name(f"{checkpoint.name}-merged")


def test_a_dtype_that_is_asked_for_is_the_one_written(opening: Opening, tmp_path: Path) -> None:
    asked_for = replace(opening, options=replace(opening.options, torch_dtype="bfloat16"))
    merge(asked_for, tmp_path / "half")
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert stranger(tmp_path / "half")[0].dtype == torch.bfloat16


def test_where_rounding_changes_an_answer_the_model_is_written_in_float32(
    opening: Opening, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def load_rounded_badly(path: Path, **options: Any) -> Any:
        loaded = load_model(path, **options)
        if path != opening.model_path and stored_dtype(path) == torch.bfloat16:
            with torch.no_grad():
                loaded.model.model.layers[1].mlp.down_proj.weight.mul_(-300)
        return loaded

    monkeypatch.setattr(exporter, "load_model", load_rounded_badly)
    monkeypatch.setattr(exporter, "stored_dtype", lambda path: torch.bfloat16)
    out = merge(opening, tmp_path / "out").path
    assert stored_dtype(out) == torch.float32
    assert "once more, in float32" in capsys.readouterr().err
    asked_for = replace(opening, options=replace(opening.options, torch_dtype="bfloat16"))
    with pytest.raises(ProofError):
        merge(asked_for, tmp_path / "half")
