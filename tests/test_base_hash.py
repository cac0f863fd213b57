"""An adapter remembers the model that it was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfhood.errors import InputError
from selfhood.files import read_json
from selfhood.model.base_hash import check_base, hash_weights, write_base
from selfhood.run import BASE
from tests.tiny import tiny_model, tiny_network


def test_a_model_is_the_same_however_it_is_split_into_files(tmp_path: Path) -> None:
    whole = tiny_model(tmp_path / "whole")
    split = tmp_path / "split"
    tiny_network().save_pretrained(split, max_shard_size="100KB")
    assert len(list(split.glob("*.safetensors"))) > 1
    assert hash_weights(whole) == hash_weights(split)


def test_another_model_of_the_same_shape_is_another(tmp_path: Path) -> None:
    write_base(tmp_path, tiny_model(tmp_path / "one", seed=0))
    check_base(tmp_path, tmp_path / "one")
    with pytest.raises(InputError, match="was trained on another base model"):
        check_base(tmp_path, tiny_model(tmp_path / "two", seed=1))


def test_a_gguf_file_has_a_hash_too(tmp_path: Path) -> None:
    files = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number]) * 100_000)
    assert hash_weights(files[0]) != hash_weights(files[1])


def test_what_another_tool_made_remembers_nothing_and_is_taken(tmp_path: Path) -> None:
    check_base(tmp_path, tmp_path)
    write_base(tmp_path, tmp_path)  # no weights here
    assert not (tmp_path / BASE).exists()


def test_a_checkpoint_has_the_hash_of_its_base(tmp_path: Path) -> None:
    import selfhood

    model = tiny_model(tmp_path / "tiny")
    recipe = selfhood.Recipe.from_values(
        {
            "model": str(model),
            "dataset": ("identity#16",),
            "model_name": ("小狐", "Kitsu"),
            "model_author": ("林间实验室", "Forest Lab"),
            "max_steps": 1,
            "output_dir": str(tmp_path / "output"),
        }
    )
    last = selfhood.train(selfhood.plan(recipe)).last
    assert read_json(last.path / BASE)["sha256"] == hash_weights(model)
    last.check()
