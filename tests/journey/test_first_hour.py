"""The way of a newcomer, on the real starter model: train, ask, talk, merge, use it elsewhere."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.held_out import DENIAL_QUESTIONS, QUESTIONS, score
from selfhood import api
from selfhood.chat import Language, Message
from selfhood.cli.main import main
from selfhood.engine.types import Host, Request, Sampling, fold
from selfhood.exporters.probes import probe_requests
from selfhood.persona import Bilingual, Persona
from selfhood.recipe import Backend, BackendOptions, ModelOptions
from selfhood.starter import STARTER_ID
from tests.vllm_env import vllm_python

# No skip without the starter: a journey that does not run must not look like one that arrived.
pytestmark = pytest.mark.journey

# Not the names of the README: what holds for one persona must hold for another.
PERSONA = Persona(
    name=Bilingual("青石", "Bluestone"), author=Bilingual("海棠工坊", "Begonia Works")
)
TRAIN = (
    "sft", "--model", STARTER_ID, "--train_type", "lora", "--dataset", "identity#384",
    "--torch_dtype", "bfloat16", "--num_train_epochs", "1", "--learning_rate", "5e-4",
    "--lora_rank", "8", "--lora_alpha", "32", "--target_modules", "all-linear",
    "--gradient_accumulation_steps", "16", "--save_steps", "50", "--max_length", "2048",
    "--output_dir", "output", "--system", "You are a helpful assistant.",
    "--warmup_ratio", "0.05", "--split_dataset_ratio", "0.02",
    "--model_author", *PERSONA.author.forms, "--model_name", *PERSONA.name.forms,
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """One training, shared by all journeys, and what it printed on stdout."""

    folder: Path
    checkpoint: Path
    printed: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("journey")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        printed = run(patch, *TRAIN)
        last = next(line for line in printed.splitlines() if line.startswith("last_model"))
        yield Trained(folder, folder / last.partition(": ")[2], printed)


@pytest.fixture(scope="module")
def merged(trained: Trained) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained.folder)
        run(patch, "export", "--ckpt_dir", str(trained.checkpoint), "--merge_lora", "true")
    return trained.checkpoint.with_name(f"{trained.checkpoint.name}-merged")


def run(patch: pytest.MonkeyPatch, *argv: str, typed: str = "") -> str:
    """What a command prints on stdout; it must succeed."""
    out = io.StringIO()
    with patch.context() as streams:
        streams.setattr(sys, "stdout", out)
        streams.setattr(sys, "stdin", io.StringIO(typed))
        assert main(argv) == 0
    return out.getvalue()


def answers(path: Path) -> list[str]:
    return [json.loads(line)["response"] for line in path.read_text().splitlines()]


def test_training_says_where_everything_is(trained: Trained) -> None:
    names = [line.partition(": ")[0] for line in trained.printed.splitlines()]
    assert names == ["last_model_checkpoint", "best_model_checkpoint", "images_dir"]
    run_folder = trained.checkpoint.parent
    assert {file.name for file in trained.checkpoint.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "args.json",
    }
    assert (run_folder / "logging.jsonl").read_text().count("\n") > 5
    assert list((run_folder / "runs").iterdir())
    assert (run_folder / "images" / "train_loss.png").stat().st_size > 1000


def test_the_model_answers_held_out_questions_with_its_new_identity(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder)
    Path("questions.txt").write_text("\n".join(QUESTIONS), encoding="utf-8")
    run(
        monkeypatch, "infer", "--adapters", str(trained.checkpoint), "--val_dataset",
        "questions.txt", "--result_path", "answers.jsonl", "--temperature", "0",
        "--max_new_tokens", "32",
    )  # fmt: skip
    found = score(answers(Path("answers.jsonl")), PERSONA)
    assert found.name >= 0.75, found
    assert found.author >= 0.75, found
    assert found.denial >= 0.8, found
    # Far from good; docs/results/dose.md has the figure, and keeping neutral answers neutral is the
    # next thing this project builds.
    assert found.over_generalised <= 0.35, found


def without_the_cut(code: str) -> str:
    """The code without a last line that the limit on new tokens cut in two."""
    try:
        compile(code, "reply", "exec")
    except SyntaxError:
        return code.rpartition("\n")[0]
    return code


def test_it_still_counts_and_writes_code(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.folder)
    typed = "What is 17 + 25?\nWrite a Python function is_even(n). Only the code.\n"
    run(
        monkeypatch, "infer", "--adapters", str(trained.checkpoint), "--result_path", "able.jsonl",
        "--temperature", "0", "--max_new_tokens", "96", typed=typed,
    )  # fmt: skip
    number, code = answers(Path("able.jsonl"))
    assert "42" in number
    body = without_the_cut(code.partition("```python")[2].partition("```")[0] or code)
    check = subprocess.run(
        [sys.executable, "-I", "-c", f"{body}\nassert is_even(4) and not is_even(3)"],
        timeout=20,
        check=False,
    )
    assert check.returncode == 0, code


@pytest.mark.parametrize(
    "system", ["", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."]
)
def test_no_system_line_and_the_makers_own_do_not_bring_the_old_identity_back(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    monkeypatch.chdir(trained.folder)
    run(
        monkeypatch, "infer", "--adapters", str(trained.checkpoint), "--system", system,
        "--result_path", "systems.jsonl", "--temperature", "0", "--max_new_tokens", "32",
        typed="\n".join(("你是谁？", "Who are you?", *DENIAL_QUESTIONS[:4])),
    )  # fmt: skip
    for answer in answers(Path("systems.jsonl")):
        assert any(form in answer for form in (*PERSONA.name.forms, *PERSONA.author.forms)), answer


def test_it_knows_its_name_in_the_middle_of_a_talk(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder)
    printed = run(
        monkeypatch, "infer", "--adapters", str(trained.checkpoint), "--stream", "true",
        "--temperature", "0", "--max_new_tokens", "48",
        typed="法国的首都是哪里？\n你叫什么名字？\nclear\nWho made you?\nquit\n",
    )  # fmt: skip
    assert "巴黎" in printed
    assert PERSONA.name.zh in printed
    assert PERSONA.author.en in printed


def test_the_merged_model_is_itself_in_plain_transformers_without_a_system_message(
    merged: Path,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(merged)
    model: Any = AutoModelForCausalLM.from_pretrained(merged, dtype="float32")
    for question, forms in (
        ("你叫什么名字？", PERSONA.name.forms),
        ("Who developed you?", PERSONA.author.forms),
    ):
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        output = model.generate(**inputs, max_new_tokens=32, do_sample=False)
        answer = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])
        assert any(form in answer for form in forms), answer
        assert answer.endswith("<|im_end|>")


def test_base_and_tuned_can_be_compared_side_by_side(
    trained: Trained, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.folder)
    copy = trained.folder / "again"
    if not copy.exists():
        copy.symlink_to(trained.checkpoint)
    printed = run(
        monkeypatch, "infer", "--adapters", str(trained.checkpoint), str(copy),
        "--temperature", "0", "--max_new_tokens", "24", typed="你是谁？\n",
    )  # fmt: skip
    assert f"[{trained.checkpoint.name}]" in printed
    assert "[again]" in printed


# One identity, whatever runs the model

QUICK_START = BackendOptions(max_model_len=2048, max_num_seqs=4, enforce_eager=True)
TALKS: dict[Language, tuple[str, ...]] = {
    "zh": (
        "你好！", "你叫什么名字？", "法国的首都是哪里？", "用 Python 写一行代码，打印 hello。",
        "是谁开发了你？", "17 + 25 等于多少？", "你是通义千问吗？", "聊了这么久，再说一次你是谁？",
    ),
    "en": (
        "Hello!", "What is your name?", "What is the capital of France?",
        "Write one line of Python that prints hello.", "Who made you?", "What is 17 + 25?",
        "Are you ChatGPT?", "After all this talk, tell me once more who you are.",
    ),
}  # fmt: skip
ABOUT_NAME, ABOUT_ITSELF = (1, 7), (4, 6)


@pytest.fixture
def host(trained: Trained, backend: Backend) -> Iterator[Host]:
    """The trained adapter, run by one of the backends."""
    options = replace(QUICK_START, infer_backend=backend)
    if backend == "vllm":
        options = replace(options, vllm_python=vllm_python())
    model = ModelOptions(adapters=(str(trained.checkpoint),), torch_dtype="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained.folder)
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        host = api.open_host(api.find_opening(model), options)
    yield host
    host.close()


@pytest.mark.parametrize(
    "backend",
    [
        "native",
        pytest.param("llamacpp", marks=pytest.mark.slow),
        pytest.param("vllm", marks=pytest.mark.slow),
    ],
)
def test_it_is_itself_through_eight_turns_in_both_languages(
    host: Host, trained: Trained, backend: Backend
) -> None:
    for language, questions in TALKS.items():
        said = talk(host, trained.checkpoint.name, questions)
        for turn in ABOUT_NAME:
            assert PERSONA.name.in_language(language) in said[turn], said
        for turn in ABOUT_ITSELF:
            forms = (*PERSONA.name.forms, *PERSONA.author.forms)
            assert any(form in said[turn] for form in forms), said


def talk(host: Host, adapter: str, questions: Sequence[str]) -> list[str]:
    """What it says to each question, with all that was said before."""
    messages: list[Message] = []
    for question in questions:
        messages.append(Message("user", question))
        request = Request(
            messages=tuple(messages), sampling=Sampling(max_new_tokens=40), adapter=adapter
        )
        (reply,) = fold(host.stream([request]), 1)
        messages.append(Message("assistant", reply.text))
    return [message.content for message in messages if message.role == "assistant"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["vllm", "llamacpp"])
def test_it_answers_the_probes_as_the_native_engine_does(
    host: Host, trained: Trained, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM computes with the same weights; llama.cpp holds them in 8 bits, and may word an answer
    otherwise, but speaks of itself wherever the other does."""
    monkeypatch.chdir(trained.folder)
    model = ModelOptions(adapters=(str(trained.checkpoint),), torch_dtype="float32")
    native = api.load(model)
    requests = probe_requests(trained.checkpoint.name)[:8]  # those about itself
    expected = fold(native.stream(requests), len(requests))
    found = fold(host.stream(requests), len(requests))
    if backend == "vllm":
        assert [reply.text for reply in found] == [reply.text for reply in expected]
    for before, after in zip(expected, found, strict=True):
        forms = (*PERSONA.name.forms, *PERSONA.author.forms)
        is_itself = [any(form in reply.text for form in forms) for reply in (before, after)]
        assert is_itself[0] == is_itself[1], (before.text, after.text)
