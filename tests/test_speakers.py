"""Whatever was trained, it answers as peft's own generate would, after being saved and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.chat import Message
from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Request, Sampling, fold
from selfhood.errors import InputError
from selfhood.model.adapters import attach, load_adapter, save_weights
from selfhood.model.load import Loaded
from selfhood.recipe import TunerOptions
from tests.tiny import tiny_network
from tests.tiny_training import SYSTEM, tokenizer, wake

QUESTIONS = ("Hi", "你叫什么名字？", "Tell me a long story about a fox in the woods", "?")
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "norms too": {"modules_to_save": ("all-norm",)},
    "prefix-tuning": {"tuner_type": "prefix-tuning", "num_virtual_tokens": 5},
    "p-tuning": {"tuner_type": "p-tuning", "num_virtual_tokens": 5},
    "prompt-tuning": {"tuner_type": "prompt-tuning", "num_virtual_tokens": 5},
}
PROMPTS = [kind for kind in KINDS if "tuning" in kind]


def loud_network() -> Any:
    """Weights so large that it answers every question with other bytes."""
    network = tiny_network()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    return network


def trained(kind: str, folder: Path, *, scale: float = 1.0, **options: Any) -> Path:
    """A saved adapter of that kind, far from where it started."""
    model = attach(loud_network(), TunerOptions(**(KINDS[kind] | options)), base="tiny", seed=0)
    wake(model)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.mul_(20 * scale)
    save_weights(model, tokenizer(), folder)
    return folder


def engine_of(model: Any) -> NativeEngine:
    loaded = Loaded(
        model=model.eval(),
        tokenizer=tokenizer(),
        path=Path(),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return NativeEngine(loaded, Renderer(tokenizer(), SYSTEM))


def answers(engine: NativeEngine, adapter: str | None) -> list[tuple[int, ...]]:
    requests = [
        Request(
            messages=(Message("user", question),),
            sampling=Sampling(max_new_tokens=16),
            adapter=adapter,
        )
        for question in QUESTIONS
    ]
    return [reply.ids for reply in fold(engine.stream(requests), len(requests))]


def generated(engine: NativeEngine, question: str) -> tuple[int, ...]:
    """What generate of transformers and peft says, one prompt at a time, up to an end mark."""
    prompt = engine.renderer.prompt((Message("user", question),))
    ids = torch.tensor([tokenizer().encode(prompt, add_special_tokens=False)])
    out = engine.loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=16,
        pad_token_id=256,
    )
    return tuple(token for token in out[0, ids.shape[1] :].tolist() if token not in engine.ends)


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_answered_as_generate_answers_each_row(kind: str, tmp_path: Path) -> None:
    engine = engine_of(load_adapter(loud_network(), trained(kind, tmp_path)))
    spoken = answers(engine, "default")
    assert spoken == [generated(engine, question) for question in QUESTIONS]
    assert spoken != answers(engine, None), "the adapter says nothing of its own"


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_is_itself_beside_an_adapter(kind: str, tmp_path: Path) -> None:
    alone = answers(engine_of(loud_network()), None)
    engine = engine_of(load_adapter(loud_network(), trained(kind, tmp_path)))
    assert answers(engine, None) == alone


@pytest.mark.parametrize("kind", KINDS)
def test_two_adapters_of_a_kind_answer_in_turn(kind: str, tmp_path: Path) -> None:
    other = {"num_virtual_tokens": 3} if kind in PROMPTS else {}
    folders = {
        "a": trained(kind, tmp_path / "a"),
        "b": trained(kind, tmp_path / "b", scale=0.5, **other),
    }
    alone = {
        name: answers(engine_of(load_adapter(loud_network(), folder)), "default")
        for name, folder in folders.items()
    }
    model = loud_network()
    for name, folder in folders.items():
        model = load_adapter(model, folder, name=name)
    engine = engine_of(model)
    assert [answers(engine, name) for name in "aba"] == [alone["a"], alone["b"], alone["a"]]


def test_adapters_that_cannot_stand_on_one_model_are_one_line(tmp_path: Path) -> None:
    lora, prefix = (trained(kind, tmp_path / kind) for kind in ("lora", "prefix-tuning"))
    for first, second in ((lora, prefix), (prefix, lora)):
        model = load_adapter(loud_network(), first, name="a")
        with pytest.raises(InputError, match="cannot stand on one model") as caught:
            load_adapter(model, second, name="b")
        assert "\n" not in str(caught.value)
