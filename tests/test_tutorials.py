"""What four tutorials for ms-swift tell people to type works here, word for word.

tests/data/tutorials.txt holds the command lines as printed. Each is read in both forms in which
people meet it: typed over several lines, and scraped onto one line, where `\\` at a line's end has
become `\\ `. Then each tutorial is followed from its first command to its last, on models and
datasets of a few kilobytes. Only three things are put in a reader's place: paths of a run that only
that run can know, `<placeholders>`, and `--max_steps 2 --max_new_tokens 8` at the end, to be quick.
"""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from selfhood.cli.flags import parse_flags
from selfhood.cli.main import find_verb, main
from tests.hub_server import HubServer
from tests.tiny import tiny_model

PRINTED = Path(__file__).parent / "data" / "tutorials.txt"
SYSTEM = "You are a helpful assistant."
QUICK = {
    "sft": "--max_steps 2 --save_steps 1",
    "infer": "--max_new_tokens 8",
    "merge_lora": "",
    "export": "",
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
# Tutorials 2 and 3 have the reader write this file; rows in their form, with our own words.
OWN_IDENTITY = [
    {"instruction": "你是谁?", "input": "", "output": "我是狐狸社区开发的助手。"},
    {"instruction": "谁在维护你?", "input": "", "output": "狐狸社区一直在维护我。"},
    {"instruction": "你能联网吗?", "input": "", "output": "不能，我只读你写给我的话。"},
]


def read_commands() -> dict[str, str]:
    """``1 train`` -> the command as printed, without what stands before ``swift``."""
    commands = {}
    for block in PRINTED.read_text(encoding="utf-8").split("\n\n"):
        title, _, command = block.strip().partition("\n")
        found = re.search(r"\bswift (?=sft|infer|export|merge_lora)", command)
        if found:
            commands[title.removeprefix("# ")] = command[found.start() :]
    return commands


COMMANDS = read_commands()


def typed(command: str) -> str:
    """A scraped command as its author typed it, over several lines."""
    return command.replace("\\ ", "\\\n    ")


def scraped(command: str) -> str:
    """A typed command as a web page without line breaks gives it."""
    return re.sub(r"\s*\\\n\s*", r" \\ ", command).removesuffix("\\")


def as_shell(command: str) -> list[str]:
    """The words a shell makes of it, after ``swift``: a backslash joins lines, or hides a blank."""
    joined = f"{command}\n".replace("\\\n", "")
    return shlex.split(joined)[1:]


def options_of(command: str) -> dict[str, Any]:
    verb, *words = as_shell(command)
    return parse_flags(find_verb(verb).options, words).options.to_json()


# Reading


def test_the_file_holds_every_command_of_the_tutorials() -> None:
    verbs = [as_shell(command)[0] for command in COMMANDS.values()]
    assert [verbs.count(verb) for verb in ("sft", "infer", "merge_lora", "export")] == [5, 8, 1, 1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_means_the_same_in_either_form(name: str) -> None:
    command = COMMANDS[name].replace("<", "").replace(">", "")  # a shell would redirect
    assert options_of(typed(command)) == options_of(command) == options_of(scraped(command))


COMMON = {
    "tuner_type": "lora",
    "torch_dtype": "bfloat16",
    "learning_rate": 1e-4,
    "lora_rank": 8,
    "lora_alpha": 32,
    "target_modules": ("all-linear",),
    "gradient_accumulation_steps": 16,
    "per_device_train_batch_size": 1,
    "system": SYSTEM,
}
REGULAR = COMMON | {
    "save_steps": 50,
    "eval_steps": 50,
    "logging_steps": 5,
    "max_length": 2048,
    "warmup_ratio": 0.05,
    "output_dir": "output",
}
ALPACA = ("AI-ModelScope/alpaca-gpt4-data-zh#500", "AI-ModelScope/alpaca-gpt4-data-en#500")
SWIFT = {"model_name": ("swift-robot",), "model_author": ("swift",)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1 train", REGULAR | SWIFT | {
            "model": "Qwen/Qwen2.5-7B-Instruct", "dataset": (*ALPACA, "swift/self-cognition#500"),
            "num_train_epochs": 1.0, "save_total_limit": 5}),
        ("2 train", REGULAR | SWIFT | {
            "model": "Qwen2.5-7B-Instruct", "dataset": ("self_cognition.json",),
            "num_train_epochs": 10.0, "save_total_limit": 2}),
        ("2 train-mixed", COMMON | {
            "dataset": (*ALPACA, "self_cognition.json"), "num_train_epochs": 3.0,
            "model_name": ("swift-robot-mixed",), "output_dir": "output_mixed"}),
        ("3 train", REGULAR | SWIFT | {
            "dataset": (*ALPACA, "self_cognition.json"), "num_train_epochs": 10.0}),
        ("4 train", REGULAR | {
            "dataset": ("swift/self-cognition",), "model_name": ("踩踩背", "CCB"),
            "model_author": ("老爷爷", "OldGrandpa")}),
        ("1 infer", {"adapters": ("output/checkpoint-100",), "stream": True, "temperature": 0.0,
                     "max_new_tokens": 2048}),
        ("1 infer-merged", {
            "merge_lora": True, "infer_backend": "vllm", "max_model_len": 8192}),
        ("1 merge", {"model": "Qwen/Qwen2.5-7B-Instruct", "output_dir": "./merged-model",
                     "adapters": ("output/checkpoint-100",)}),
        ("4 merge", {"merge_lora": True}),
        ("4 infer", {"infer_backend": "native"}),
    ],
)  # fmt: skip
def test_every_flag_arrives_as_it_was_meant(name: str, expected: dict[str, Any]) -> None:
    command = COMMANDS[name].replace("<model_id_or_path>", "m").replace("<", "").replace(">", "")
    options = options_of(command)
    assert {flag: options[flag] for flag in expected} == expected


def test_flags_without_effect_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    verb, *words = as_shell(COMMANDS["1 infer-merged"])
    notices = parse_flags(find_verb(verb).options, words).notices
    assert notices == (), "vLLM takes them all"


# Following


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """The hub as the tutorials need it: two models, three datasets."""
    folder = tmp_path_factory.mktemp("hub")
    for name in ("Qwen2.5-7B-Instruct", "Qwen2.5-0.5B-Instruct"):
        tiny_model(folder / "models" / "Qwen" / name)
    datasets = folder / "datasets"
    alpaca = "AI-ModelScope/alpaca-gpt4-data"
    write_rows(datasets / f"{alpaca}-zh", [
        {"instruction": f"{n} 加一？", "input": None, "output": f"{n + 1}。"} for n in range(9)
    ])  # fmt: skip
    write_rows(datasets / f"{alpaca}-en", [
        {"instruction": "Add one", "input": str(n), "output": f"{n + 1}."} for n in range(9)
    ])  # fmt: skip
    write_rows(datasets / "swift" / "self-cognition", [
        {"query": "你叫什么？", "response": "我是{{NAME}}，由{{AUTHOR}}训练。", "tag": "zh"},
        {"query": "Who?", "response": "I am {{NAME}}, made by {{AUTHOR}}.", "tag": "en"},
        {"query": "Are you another model?", "response": "No.", "tag": "en"},
    ])  # fmt: skip
    with HubServer(folder) as server:
        yield server


def write_rows(folder: Path, rows: list[dict[str, str | None]]) -> None:
    folder.mkdir(parents=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")


class Reader:
    """Somebody who follows a tutorial in a folder of his own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.said = ""

    def types(self, name: str, question: str = "你是谁？\n", **places: str) -> str:
        """Type a command with the reader's own paths in; its stdout."""
        code, out = self._type(name, question, places)
        assert code == 0, self.said
        return out

    def fails(self, name: str, **places: str) -> str:
        """What a command says that the reader got wrong."""
        code, _ = self._type(name, "", places)
        assert code == 2, self.said
        return self.said

    def _type(self, name: str, question: str, places: Mapping[str, str]) -> tuple[int, str]:
        command = COMMANDS[name]
        for printed, own in places.items():
            assert PLACES[printed] in command
            command = command.replace(PLACES[printed], own)
        verb, *words = as_shell(command)
        self.monkeypatch.setattr("sys.stdin", io.StringIO(question))
        code = main([verb, *words, *QUICK[verb].split()])
        out, self.said = self.capsys.readouterr()
        return code, out

    def trains(self, name: str, **places: str) -> str:
        """The checkpoint that training printed last."""
        out = self.types(name, **places)
        printed = dict(line.split(": ") for line in out.splitlines())
        assert list(printed) == ["last_model_checkpoint", "best_model_checkpoint", "images_dir"]
        assert all(Path(path).is_dir() for path in printed.values())
        return printed["last_model_checkpoint"]


PLACES = {
    "model": "<model_id_or_path>",
    "base": "</path/to/Qwen2.5-0.5B-Instruct>",
    "checkpoint": "</path/to/output/v0-20250605-083928/checkpoint-31>",
    "merged": "</path/to/output/v0-20250605-083928/checkpoint-31-merged>",
    "newest": "output/checkpoint-100",
    "run": "output/v2-2025xxxx-xxxx/checkpoint-xxx",
}


@pytest.fixture
def reader(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Reader:
    for name in (*PROXIES, "USE_HF"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_CACHE", "MODELSCOPE_CACHE", "MODELSCOPE_HOME", "SELFHOOD_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "caches" / name))
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    return Reader(monkeypatch, capsys)


def taught(checkpoint: str) -> dict[str, Any]:
    """What the run wrote down about itself."""
    args: dict[str, Any] = json.loads(Path(checkpoint, "args.json").read_text("utf-8"))
    return args


def test_tutorial_1_from_the_hub_to_a_merged_model(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = reader.trains("1 train")
    assert "swift/self-cognition#500: 500 rows" in reader.said
    assert taught(checkpoint)["model"] == "Qwen/Qwen2.5-7B-Instruct"
    # The tutorial's `output/checkpoint-N`, without the run's folder, finds the newest run.
    answer = reader.types("1 infer", newest="output/checkpoint-2")
    assert f"adapter  {checkpoint}" in reader.said
    reader.types("1 merge", newest="output/checkpoint-2")
    said = reader.fails("1 infer-merged", newest="output/checkpoint-2")
    assert "vllm-env/bin/pip install vllm" in said, "it wants an environment of its own"
    command = COMMANDS["1 infer-merged"].replace("vllm", "pt")
    monkeypatch.setitem(COMMANDS, "1 infer-merged", command)
    assert reader.types("1 infer-merged", newest="output/checkpoint-2") == answer

    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained("./merged-model")  # as the tutorial goes on
    tokenizer = AutoTokenizer.from_pretrained("./merged-model")
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert SYSTEM in str(prompt)


def test_tutorial_2_with_a_model_folder_and_a_file_of_ones_own(reader: Reader) -> None:
    tiny_model(Path("Qwen2.5-7B-Instruct"))
    Path("self_cognition.json").write_text(json.dumps(OWN_IDENTITY, ensure_ascii=False, indent=1))
    assert reader.types("2 infer-base")
    assert "--model_type has no effect here" in reader.said
    checkpoint = reader.trains("2 train")
    assert "--model_name and --model_author changed nothing: self_cognition.json:2" in reader.said
    reader.types("2 infer", run=checkpoint)
    mixed = reader.trains("2 train-mixed")
    assert mixed.startswith("output_mixed/v0-")
    assert "--model_name changed nothing" in reader.said


def test_tutorial_3_mixes_datasets_of_the_hub_with_a_file(reader: Reader) -> None:
    tiny_model(Path("Qwen2.5-7B-Instruct"))
    Path("self_cognition.json").write_text(json.dumps(OWN_IDENTITY, ensure_ascii=False))
    checkpoint = reader.trains("3 train")
    assert "self_cognition.json: 3 rows" in reader.said
    assert reader.types("3 infer", question="你是谁?\n写一个快速排序。\n", run=checkpoint)


def test_tutorial_4_names_in_two_languages_and_a_merged_model(reader: Reader) -> None:
    base = tiny_model(Path("models/Qwen2.5-0.5B-Instruct"))
    checkpoint = reader.trains("4 train", model=str(base))
    assert "swift/self-cognition: 3 rows, 2 named" in reader.said
    assert taught(checkpoint)["model_name"] == ["踩踩背", "CCB"]
    reader.types("4 infer-base")  # Qwen/Qwen2.5-0.5B-Instruct, from the hub
    out = reader.types("4 merge", base=str(base), checkpoint=checkpoint)
    assert out == f"Successfully merged LoRA and saved in {checkpoint}-merged.\n"
    reader.types("4 infer-merged", merged=f"{checkpoint}-merged")
    reader.types("4 infer", checkpoint=checkpoint)


def test_names_that_no_row_can_take_stop_a_tutorial_before_the_model_is_loaded(
    reader: Reader,
) -> None:
    Path("self_cognition.json").write_text('[{"instruction": "1+1?", "output": "2"}]')
    verb, *words = as_shell(COMMANDS["2 train"])
    assert main([verb, *words]) == 2
    assert "no row takes the name" in reader.capsys.readouterr().err
