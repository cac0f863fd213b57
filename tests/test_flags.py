"""Command lines as people type and paste them, in the words of every version of ms-swift."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from selfhood.cli import compat
from selfhood.cli.flags import help_text, parse_flags
from selfhood.errors import FlagError, InputError, MissingError
from selfhood.recipe import (
    EvalOptions,
    ExportOptions,
    InferOptions,
    Quantisation,
    Recipe,
    VerbOptions,
)

VERBS: tuple[type[VerbOptions], ...] = (Recipe, InferOptions, EvalOptions, ExportOptions)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sft(*words: str) -> Recipe:
    return parse_flags(Recipe, words).options


def infer(*words: str) -> InferOptions:
    return parse_flags(InferOptions, words).options


def notes(*words: str, verb: type[VerbOptions] = Recipe) -> str:
    return "\n".join(parse_flags(verb, words).notices)


def failure(*words: str, verb: type[VerbOptions] = Recipe) -> str:
    with pytest.raises(InputError) as caught:
        parse_flags(verb, words)
    return str(caught.value)


# How a flag is written


def test_values_come_after_a_blank_or_an_equals_sign_and_in_lists() -> None:
    recipe = sft("--max_length=99", "--dataset", "a#5", "b", "--model", "m")
    assert recipe.data.max_length == 99
    assert recipe.data.dataset == ("a#5", "b")
    assert recipe.model.model == "m"


def test_kebab_case_is_snake_case() -> None:
    assert sft("--num-train-epochs", "2").train.num_train_epochs == 2


def test_the_beginning_of_a_name_is_enough_if_it_is_the_only_one() -> None:
    assert sft("--max_len", "99").data.max_length == 99
    assert "did you mean --adam_beta1 or --adam_beta2" in failure("--adam_beta", "1")


@pytest.mark.parametrize("text", ["true", "True", "YES", "1", "on", "t"])
def test_true_has_many_spellings(text: str) -> None:
    assert infer("--merge_lora", text).sampling.merge_lora


@pytest.mark.parametrize("text", ["false", "False", "no", "0", "off", "F"])
def test_false_has_many_spellings(text: str) -> None:
    assert not sft("--dataset_shuffle", text).data.dataset_shuffle


def test_a_bare_flag_is_true() -> None:
    assert infer("--merge_lora", "--stream").sampling.stream


def test_an_empty_text_is_a_text() -> None:
    assert sft("--system", "").model.system == ""
    assert sft("--system=").model.system == ""


def test_a_value_may_begin_with_a_dash_or_hold_an_equals_sign() -> None:
    recipe = sft("--max_steps", "-1", "--system=--be kind=true")
    assert recipe.train.max_steps == -1
    assert recipe.model.system == "--be kind=true"


def test_none_unsets_an_option_that_may_be_unset() -> None:
    recipe = sft("--max_length", "None", "--torch_dtype", "null", "--attn_impl", "auto")
    assert recipe.data.max_length is None
    assert (recipe.model.torch_dtype, recipe.model.attn_impl) == (None, None)
    assert sft("--system", "None").model.system == "None"  # a text, however odd


def test_of_a_flag_given_twice_the_last_counts_and_the_user_is_told() -> None:
    words = ("--dataset", "a", "b", "--lora_r", "8", "--dataset", "c", "--lora_rank", "16")
    assert sft(*words).data.dataset == ("c",)
    assert sft(*words).tuner.lora_rank == 16
    assert "--dataset is given twice: the last one counts, not --dataset a b" in notes(*words)
    assert "--lora_rank is given twice: the last one counts, not --lora_r 8" in notes(*words)


# What a paste does


def test_a_command_scraped_onto_one_line_keeps_its_meaning() -> None:
    words = (
        " --model",
        "m",
        "\\",
        " --dataset",
        "a",
        " b",
        " ",
        "\\",
        " --system",
        "be kind",
        "\\",
    )
    recipe = sft(*words)
    assert (recipe.model.model, recipe.data.dataset) == ("m", ("a", "b"))
    assert recipe.model.system == "be kind"


def test_a_blank_at_the_beginning_of_a_text_stays_where_nothing_was_scraped() -> None:
    assert sft("--model", "m", "--system", " be kind").model.system == " be kind"


@pytest.mark.parametrize("dash", ["–", "—", "――", "−−"])
def test_two_hyphens_that_became_a_dash_are_understood(dash: str) -> None:
    recipe = sft("--model", "m", f"{dash}max_length=99", f"{dash}dataset", "—a—")
    assert (recipe.data.max_length, recipe.data.dataset) == (99, ("—a—",))


def test_a_blank_at_which_no_shell_splits_is_understood() -> None:
    assert sft("--model\u00a0my model").model.model == "my model"


# Mistakes


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--modle x", "--modle: unknown flag; did you mean --model?"),
        ("--learning-rte 1", "--learning-rte: unknown flag; did you mean --learning_rate?"),
        ("--xyzzy 1", "--xyzzy: unknown flag; see --help"),
        ("--model", "--model: needs a value"),
        ("--dataset --model x", "--dataset: needs a value"),
        ("--model_name --model_author x", "--model_name: needs a value"),
        ("--model a b c", "--model: takes one value; got 3: a | b | c; put quotes round"),
        ("a.jsonl --model x", "'a.jsonl' stands where a flag was expected"),
        ("--max_steps 1e3", "--max_steps: '1e3' is not a whole number"),
        ("--learning_rate fast", "--learning_rate: 'fast' is not a number"),
        ("--learning_rate nan", "--learning_rate: nan is not a finite number"),
        ("--dataset_shuffle maybe", "--dataset_shuffle: 'maybe' is neither true nor false"),
        ("--train_type vera", "--train_type: 'vera' is not one of lora, full, prefix-tuning"),
        ("--train_type full --use_dora true", "--use_dora: says nothing to --tuner_type full; it"),
        ("--freeze_parameters model", "--freeze_parameters: says nothing to --tuner_type lora"),
        ("--train_type prefix-tuning --modules_to_save norm", "--modules_to_save: says nothing"),
        ("--num_virtual_tokens 9", "--num_virtual_tokens: says nothing to --tuner_type lora"),
        ("--quant_bits 4 --train_type full", "--quant_bits: weights of 4 bits cannot move"),
        ("--quant_method bnb", "--quant_bits: is missing; add --quant_bits 4"),
        ("--quant_bits 8", "--quant_bits: 8 is above the maximum, 4"),
        ("--load_in_8bit true", "--load_in_8bit: 'true' is not supported yet; use --quant_bits 4"),
        ("--quant_method hqq", "--quant_method: 'hqq' is not one of bnb"),
        ("--no_strict", "--no_strict: is written as a value; use --strict false"),
        ("--lora_rank 0", "--lora_rank: 0 is below the minimum, 1"),
        ("--merge_lora true", "--merge_lora: is a flag of infer, not of this verb; after training"),
    ],
)
def test_a_mistake_names_the_flag_and_the_remedy(words: str, what: str) -> None:
    assert what in failure(*words.split())


def test_data_to_be_answered_goes_to_val_dataset() -> None:
    assert "questions to be answered go to --val_dataset" in (
        failure("--dataset", "a.json", verb=InferOptions)
    )


# Config files

CONFIG = """\
model: m
dataset: [a, b]
learning_rate: 1e-4
dataset_shuffle: false
save_strategy: no
columns: {F: query}
val_dataset: []
max_length: null
system: ''
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", CONFIG),
        ("c.yml", "\ufeff" + CONFIG),
        ("c.json", json.dumps({
            "model": "m", "dataset": ["a", "b"], "learning_rate": 1e-4, "dataset_shuffle": False,
            "save_strategy": "no", "columns": {"F": "query"}, "val_dataset": [],
            "max_length": None, "system": ""})),
        ("c.toml", 'model = "m"\ndataset = ["a", "b"]\nlearning_rate = 1e-4\nsystem = ""\n'
                   'dataset_shuffle = false\nsave_strategy = "no"\ncolumns = {F = "query"}\n'),
    ],
)  # fmt: skip
def test_a_config_file_says_what_flags_say(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")
    for words in ([name], ["--config", name], [f"--config={name}"]):
        recipe = sft(*words)
        assert (recipe.model.model, recipe.model.system) == ("m", "")
        assert recipe.data.dataset == ("a", "b")
        assert recipe.data.columns == '{"F": "query"}'
        assert (recipe.data.dataset_shuffle, recipe.data.max_length) == (False, None)
        assert (recipe.train.learning_rate, recipe.train.save_strategy) == (1e-4, "no")


def test_what_is_typed_wins_over_the_config_file_without_a_word() -> None:
    Path("c.yaml").write_text("max_steps: 5\nlora_r: 4")
    words = ("c.yaml", "--max_steps", "7", "--lora_rank", "2")
    assert (sft(*words).train.max_steps, sft(*words).tuner.lora_rank) == (7, 2)
    assert notes(*words) == ""


def test_what_a_run_wrote_down_is_a_config_file() -> None:
    recipe = sft("--model", "m", "--dataset", "a", "--model_name", "小狐", "--max_steps", "3")
    Path("args.json").write_text(json.dumps(recipe.to_json()))
    assert sft("args.json") == recipe


def test_env_in_a_config_file_sets_variables_that_are_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SET_BEFORE", "mine")
    monkeypatch.delenv("SET_NOW", raising=False)
    Path("c.yaml").write_text("ENV: {SET_BEFORE: 1, SET_NOW: 2}\nmodel: m")
    sft("c.yaml")
    assert (os.environ["SET_BEFORE"], os.environ.pop("SET_NOW")) == ("mine", "2")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("modle: x", "c.yaml: modle: unknown flag; did you mean model?"),
        ("lora-rnak: 3", "c.yaml: lora-rnak: unknown flag; did you mean lora_rank?"),
        ("max_steps: ten", "c.yaml: max_steps: 'ten' is not a whole number"),
        ("model: [a, b]", "c.yaml: model: takes one value"),
        ("dataset: [[a]]", "c.yaml: dataset: is a list of lists"),
        ("a: [", "c.yaml: while parsing a flow node"),
        ("- model", "c.yaml: holds no keys and values"),
        ("", "c.yaml: holds no keys and values"),
        ("ENV: [a]", "c.yaml: ENV: holds no names and values"),
        ("use_galore: true", "c.yaml: use_galore: 'true' is not supported yet"),
    ],
)
def test_a_mistake_in_a_config_file_names_file_and_key(text: str, what: str) -> None:
    Path("c.yaml").write_text(text)
    assert what in failure("c.yaml")


def test_a_config_file_that_cannot_be_read_says_why() -> None:
    Path("gbk.yaml").write_bytes("system: 你".encode("gbk"))
    Path("bad.json").write_text("{")
    Path("bad.toml").write_text("a =")
    assert failure("gbk.yaml") == "gbk.yaml: the file is not UTF-8"
    assert "bad.json: Expecting property name" in failure("bad.json")
    assert "bad.toml: Invalid value" in failure("bad.toml")
    assert "--config: needs a file" in failure("--config")
    with pytest.raises(MissingError, match=r"no.yaml: no such config file"):
        sft("no.yaml")


def test_a_system_line_in_a_file_is_read_at_once_so_that_the_run_remembers_the_text() -> None:
    Path("me.txt").write_text("你是小狐。\n", encoding="utf-8")
    assert sft("--system", "me.txt").to_json()["system"] == "你是小狐。"
    assert "--system no.txt: no such file" in failure("--system", "no.txt")


# Names of other versions


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--model_id_or_path m", {"model": "m"}),
        ("--sft_type lora", {"tuner_type": "lora"}),
        ("--train_type lora", {"tuner_type": "lora"}),
        ("--torch_dtype fp16", {"torch_dtype": "float16"}),
        ("--dtype bf16", {"torch_dtype": "bfloat16"}),
        ("--lora_target_modules ALL", {"target_modules": ("all-linear",)}),
        ("--lora_dropout_p 0.1", {"lora_dropout": 0.1}),
        ("--batch_size 2", {"per_device_train_batch_size": 2}),
        ("--custom_train_dataset_path a b", {"dataset": ("a", "b")}),
        ("--dataset_test_ratio 0.1", {"split_dataset_ratio": 0.1}),
        ("--evaluation_strategy epoch", {"eval_strategy": "epoch"}),
        ("--add_output_dir_suffix false", {"add_version": False}),
        ("--attn_impl flash_attention_2", {"attn_impl": "sdpa"}),
    ],
)
def test_old_names_train_the_same(words: str, expected: dict[str, Any]) -> None:
    values = sft(*words.split()).to_json()
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("flag", ["ckpt_dir", "adapter_path", "adapters", "lora_modules"])
def test_a_checkpoint_has_many_names(flag: str) -> None:
    words = [f"--{flag}", "x"]
    assert parse_flags(InferOptions, words).options.model.adapters == ("x",)
    assert parse_flags(ExportOptions, words).options.model.adapters == ("x",)


def test_where_a_merged_model_goes_has_two_names() -> None:
    options = parse_flags(ExportOptions, ["--merge_path", "./merged"]).options
    assert options.merge.output_dir == "./merged"


@pytest.mark.parametrize("backend", ["pt", "transformers"])
def test_the_backend_of_this_process_has_three_names(backend: str) -> None:
    assert infer("--infer_backend", backend).backend.infer_backend == "native"
    assert notes("--infer_backend", backend, verb=InferOptions) == ""


@pytest.mark.parametrize("backend", ["llamacpp", "llama.cpp", "llama_cpp"])
def test_llama_cpp_has_three_names(backend: str) -> None:
    assert infer("--infer_backend", backend).backend.infer_backend == "llamacpp"


@pytest.mark.parametrize("prefix", ["", "vllm_"])
def test_the_flags_of_vllm_have_two_names(prefix: str) -> None:
    words = (f"--{prefix}max_model_len", "8192", f"--{prefix}gpu_memory_utilization", "0.8")
    backend = infer("--infer_backend", "vllm", *words).backend
    assert (backend.max_model_len, backend.gpu_memory_utilization) == (8192, 0.8)


@pytest.mark.parametrize("backend", ["sglang", "lmdeploy"])
def test_a_backend_that_is_not_connected_is_an_error_that_says_what_to_do(backend: str) -> None:
    with pytest.raises(FlagError, match=r"is not connected; .*--infer_backend openai --url"):
        infer("--infer_backend", backend)


@pytest.mark.parametrize("name", compat.NO_EFFECT)
def test_a_flag_without_effect_says_so_and_why(name: str) -> None:
    for verb in VERBS:
        assert f"--{name} has no effect here: " in notes(f"--{name}", "1", verb=verb)


@pytest.mark.parametrize("name", compat.UNSUPPORTED)
def test_a_flag_that_would_change_the_result_is_refused_unless_it_asks_for_nothing(
    name: str,
) -> None:
    harmless = compat.UNSUPPORTED[name].harmless[0]
    for verb in VERBS:
        assert notes(f"--{name}", harmless, verb=verb) == ""
        assert f"--{name}: 'something' is not supported yet" in (
            failure(f"--{name}", "something", verb=verb)
        )


@pytest.mark.parametrize(
    "words",
    ["--quant_bits 4", "--quantization_bit 4", "--load_in_4bit true",
     "--quant_method bnb --quant_bits 4 --bnb_4bit_quant_type nf4 --bnb_4bit_comp_dtype AUTO"],
)  # fmt: skip
def test_four_bits_are_asked_for_in_many_ways(words: str) -> None:
    options = parse_flags(Recipe, words.split()).options
    assert options.model.quantisation == Quantisation(kind="nf4", is_double=True)


def test_a_bare_switch_that_is_not_supported_is_refused() -> None:
    assert failure("--use_galore") == "--use_galore: is not supported yet"


@pytest.mark.parametrize(
    "words",
    ["--quant_bits 0", "--deepspeed none", "--lora_bias none", "--optim adamw_torch",
     "--loss_scale default", "--num_beams 1", "--streaming False"],
)  # fmt: skip
def test_defaults_that_are_spelled_out_do_no_harm(words: str) -> None:
    assert notes(*words.split()) == ""


def test_generation_flags_in_training_and_data_flags_in_inference_are_noted() -> None:
    assert "--temperature has no effect here: it belongs to infer" in notes("--temperature", "0")
    assert "--max_length has no effect here: it belongs to sft" in (
        notes("--max_length", "9", verb=InferOptions)
    )


def test_a_reason_is_said_once() -> None:
    assert notes("--bf16", "1", "--bf16", "1").count("--bf16") == 1


def test_no_name_stands_in_two_tables() -> None:
    options = {name for verb in VERBS for name in verb.from_values({}).to_json()}
    tables = [options, set(compat.ALIASES), set(compat.NO_EFFECT), set(compat.UNSUPPORTED)]
    for number, table in enumerate(tables):
        for other in tables[number + 1 :]:
            assert not table & other


def test_every_alias_leads_to_a_name_that_is_known() -> None:
    options = {name for verb in VERBS for name in verb.from_values({}).to_json()}
    known = options | set(compat.NO_EFFECT) | set(compat.UNSUPPORTED)
    assert set(compat.ALIASES.values()) <= known


# Help


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_every_option_with_its_default(verb: type[VerbOptions]) -> None:
    text = help_text("verb", "does it", verb)
    for name in verb.from_values({}).to_json():
        assert f"--{name} " in text


def test_help_shows_choices_and_defaults() -> None:
    text = help_text("sft", "train", Recipe)
    assert "{delete, left, right} [delete]" in text
    assert "[all-linear]" in text
    assert "[true]" in text


def test_options_are_checked_also_without_a_command_line() -> None:
    with pytest.raises(FlagError, match="--split_dataset_ratio: 2 is above the maximum"):
        Recipe.from_values({"split_dataset_ratio": 2})
