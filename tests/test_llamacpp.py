"""llama.cpp says what the engine of this process says, for the base and for each adapter on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.chat import Message
from selfhood.engine.llamacpp import LlamaCppEngine
from selfhood.engine.types import Passage, Reply, Request, Sampling, fold
from selfhood.errors import InputError
from selfhood.hosting import open_engine
from selfhood.model.adapters import attach, save_weights, speaking_as
from selfhood.opening import Opening, find_opening
from selfhood.recipe import BackendOptions, ModelOptions, TunerOptions
from tests.tiny_bpe import bpe_model, bpe_network, bpe_tokenizer
from tests.tiny_training import wake

pytestmark = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="needs the extra llamacpp")
QUESTIONS = ("Who are you?", "你是谁？", "What is 17 + 25?", "def f(n):")
OPTIONS = BackendOptions(infer_backend="llamacpp", gguf_type="f32", max_num_seqs=4)
SYSTEM = "You are a helpful assistant."
LONG = 24


def loud(network: Any) -> Any:
    """Weights so large that other words answer every question; words of ASCII, so that none is half
    a character."""
    tokenizer = bpe_tokenizer()
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.mul_(4)
        for token, row in enumerate(network.get_input_embeddings().weight):
            if not tokenizer.decode([token]).isascii() or token >= len(tokenizer):
                row.mul_(1e-3)
    return network


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opening]:
    """A base and two adapters of different rank and scale, the second one rsLoRA."""
    folder = tmp_path_factory.mktemp("llamacpp")
    base = bpe_model(folder / "base")
    loud(bpe_network()).save_pretrained(base)
    for seed, (name, rank, is_rs) in enumerate((("fox", 4, False), ("owl", 8, True))):
        options = TunerOptions(lora_rank=rank, lora_alpha=8, use_rslora=is_rs)
        model = attach(loud(bpe_network()), options, base=str(base), seed=seed)
        wake(model)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.mul_(4)
        save_weights(model, bpe_tokenizer(), folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFHOOD_CACHE", str(folder / "cache"))
        names = tuple(str(folder / name) for name in ("fox", "owl"))
        yield find_opening(
            ModelOptions(model=str(base), adapters=names, system=SYSTEM, torch_dtype="float32")
        )


def engine_of(opening: Opening) -> LlamaCppEngine:
    return LlamaCppEngine(
        opening.model_path,
        {name: each.path for name, each in zip(opening.names, opening.checkpoints, strict=True)},
        system=opening.system,
        thinking=None,
        options=OPTIONS,
    )


@pytest.fixture(scope="module")
def engine(opening: Opening) -> Iterator[LlamaCppEngine]:
    engine = engine_of(opening)
    yield engine
    engine.close()


def asked(adapter: str | None, **sampling: Any) -> list[Request]:
    settings = Sampling(**{"max_new_tokens": LONG, **sampling})
    return [
        Request(messages=(Message("user", question),), sampling=settings, adapter=adapter)
        for question in QUESTIONS
    ]


def replies(engine: Any, requests: list[Request]) -> list[Reply]:
    return fold(engine.stream(requests), len(requests))


@pytest.mark.parametrize("adapter", [None, "fox", "owl"])
def test_it_answers_as_the_engine_of_this_process_does(
    engine: LlamaCppEngine, opening: Opening, adapter: str | None
) -> None:
    found = replies(engine, asked(adapter))
    expected = replies(open_engine(opening), asked(adapter))
    assert [reply.text for reply in found] == [reply.text for reply in expected]
    assert [reply.finish for reply in found] == [reply.finish for reply in expected]
    assert [reply.num_tokens for reply in found] == [reply.num_tokens for reply in expected]


@pytest.mark.parametrize("adapter", [None, "fox", "owl"])
def test_its_chances_are_those_of_the_engine_of_this_process(
    engine: LlamaCppEngine, opening: Opening, adapter: str | None
) -> None:
    """Of the first token, on which no rounding of tokens before it has worked."""
    native = open_engine(opening)
    for request, reply in zip(asked(adapter), replies(engine, told(adapter)), strict=True):
        text = native.renderer.prompt(request.messages)
        ids_1T = torch.tensor([bpe_tokenizer().encode(text, add_special_tokens=False)])
        with speaking_as(native.loaded.model, adapter), torch.inference_mode():
            logits_V = native.loaded.model(ids_1T).logits[0, -1]
        best = logits_V.log_softmax(dim=-1).topk(3)
        words = [bpe_tokenizer().decode([token]) for token in best.indices]
        others = reply.chances[0].others
        assert [token for token, _ in others] == words
        assert [chance for _, chance in others] == pytest.approx(best.values.tolist(), abs=0.005)


def told(adapter: str | None) -> list[Request]:
    return asked(adapter, max_new_tokens=1, num_logprobs=3)


def test_identities_do_not_mix_in_one_batch(engine: LlamaCppEngine) -> None:
    alone = {name: replies(engine, asked(name)) for name in (None, "fox", "owl")}
    assert len({each[0].text for each in alone.values()}) == 3
    mixed = [request for three in zip(*map(asked, alone), strict=True) for request in three]
    found = replies(engine, mixed)
    for number, name in enumerate(alone):
        assert [each.text for each in found[number::3]] == [each.text for each in alone[name]]


def test_its_words_are_cut_as_the_models_own_tokenizer_cuts_them(engine: LlamaCppEngine) -> None:
    tokenizer = bpe_tokenizer()
    for text in (*QUESTIONS, "<|im_start|>user\nx<|im_end|>\n", "I'M  here\n\n \n12345 的，是"):
        body = {"content": text, "add_special": False, "parse_special": True}
        found = engine._served.wire.post("/tokenize", body)["tokens"]
        assert found == tokenizer.encode(text, add_special_tokens=False), text


def test_a_reply_comes_in_pieces_and_a_stop_word_is_not_said(engine: LlamaCppEngine) -> None:
    (request, *_) = asked("fox")
    pieces = list(engine.stream([request]))
    whole = "".join(piece.text for piece in pieces)
    assert len(pieces) > 4 and pieces[-1].num_prompt_tokens > 5
    word = whole[len(whole) // 2 :][:3]
    (cut,) = replies(engine, [replace(request, sampling=replace(request.sampling, stop=(word,)))])
    assert (cut.text, cut.finish) == (whole[: whole.find(word)], "stop")


def test_a_seed_repeats_what_was_drawn(engine: LlamaCppEngine) -> None:
    draws = [replies(engine, asked("fox", temperature=1.0, seed=seed)[:1]) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_the_chances_of_its_tokens_are_told(engine: LlamaCppEngine) -> None:
    (reply,) = replies(engine, asked("fox", num_logprobs=3)[:1])
    assert len(reply.chances) >= reply.num_tokens > 0
    first = reply.chances[0]
    assert first.logprob <= 0 and len(first.others) == 3
    assert first.others[0] == (first.token, first.logprob), "greedy: the likeliest"


def test_text_and_tokens_are_gone_on_from_as_they_stand(engine: LlamaCppEngine) -> None:
    sampling = Sampling(max_new_tokens=8)
    ids = tuple(bpe_tokenizer().encode("Who are", add_special_tokens=False))
    requests = [Request(messages=(), sampling=sampling, text=text) for text in ("Who are", ids)]
    text, tokens = replies(engine, requests)
    assert text == tokens and text.num_prompt_tokens == len(ids)


def test_what_it_cannot_do_is_one_line(engine: LlamaCppEngine, tmp_path: Path) -> None:
    assert engine.speakers == ("fox", "owl")
    with pytest.raises(InputError, match="no adapter is called 'cat'"):
        list(engine.stream(asked("cat")))
    with pytest.raises(InputError, match="does not weigh"):
        engine.score([Passage(prompt="a", text="b")])
    with pytest.raises(InputError, match="start again"):
        engine.add_speaker("cat", tmp_path)
    long = Request(messages=(Message("user", "x y " * 2000),), sampling=Sampling())
    with pytest.raises(InputError, match="tokens long, the model holds 1024"):
        list(engine.stream([long]))


def test_who_closes_the_stream_frees_the_server(engine: LlamaCppEngine) -> None:
    requests = asked("fox", max_new_tokens=900)
    stream = engine.stream(requests)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    for _ in range(100):
        if not any(slot["is_processing"] for slot in engine._served.wire.get("/slots")):
            return
        time.sleep(0.02)
    pytest.fail("it still computes what nobody reads")


def test_a_model_is_converted_once(opening: Opening, engine: LlamaCppEngine) -> None:
    files = sorted((Path(os.environ["SELFHOOD_CACHE"]) / "gguf").glob("*.gguf"))
    assert len(files) == 3
    before = [path.stat().st_mtime_ns for path in files]
    engine_of(opening).close()
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_gguf_file_is_opened_as_it_is(opening: Opening, engine: LlamaCppEngine) -> None:
    (file,) = (Path(os.environ["SELFHOOD_CACHE"]) / "gguf").glob("base-*.gguf")
    other = LlamaCppEngine(file, {}, system=SYSTEM, thinking=None, options=OPTIONS)
    try:
        assert replies(other, asked(None)) == replies(engine, asked(None))
    finally:
        other.close()


def test_it_ends_with_us_even_if_we_are_killed(opening: Opening, engine: LlamaCppEngine) -> None:
    code = f"""
import sys
from pathlib import Path
from selfhood.engine.llamacpp import LlamaCppEngine
from selfhood.recipe import BackendOptions
engine = LlamaCppEngine(Path({str(opening.model_path)!r}), {{}}, system=None, thinking=None,
    options=BackendOptions(infer_backend="llamacpp", gguf_type="f32", max_num_seqs=1))
print(engine._served._child.pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None and parent.stdin is not None
    with parent, parent.stdin, parent.stdout:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(250):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.02)
    pytest.fail("the server lives on")
