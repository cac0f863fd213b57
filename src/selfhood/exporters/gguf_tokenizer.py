"""A byte-level BPE tokenizer (``tokenizer.json``) -> the key-value pairs of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from selfhood.errors import InputError
from selfhood.files import read_json
from selfhood.gguf_folder import SPLIT_PATTERN

# How a text is cut before its bytes are merged -> llama.cpp's name for it.
SPLITS: Mapping[str, str] = {
    SPLIT_PATTERN: "qwen2",
    SPLIT_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|"): "llama-bpe",
}
CONFIG, TEMPLATE = "tokenizer_config.json", "chat_template.jinja"


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path) -> None:
    """Raises InputError for a tokenizer of another make."""
    tokenizer = read_json(folder / "tokenizer.json")
    config = read_json(folder / CONFIG)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(tokenizer, folder))
    texts, types = _tokens(tokenizer, read_json(folder / "config.json")["vocab_size"])
    writer.add_token_list(texts)
    writer.add_token_types(types)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    ids = {text: number for number, text in enumerate(texts)}
    for name, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        named = config.get(name)
        text = named.get("content") if isinstance(named, dict) else named
        if text in ids:
            add(ids[text])
    writer.add_add_bos_token(False)  # prompts come rendered, with whatever the template begins with
    template = _template(folder, config)
    if template:
        writer.add_chat_template(template)


def _split(tokenizer: Mapping[str, Any], folder: Path) -> str:
    model = tokenizer.get("model") or {}
    steps = tokenizer.get("pre_tokenizer") or {}
    patterns = [
        step["pattern"].get("Regex")
        for step in steps.get("pretokenizers", [steps])
        if step.get("type") == "Split"
    ]
    split = SPLITS.get(patterns[0]) if len(patterns) == 1 else None
    if model.get("type") != "BPE" or not model.get("merges") or split is None:
        raise InputError(
            "its tokenizer is not converted to GGUF here",
            where=str(folder),
            hint="that is done for Qwen's and Llama 3's; or use --infer_backend native",
        )
    return split


def _tokens(tokenizer: Mapping[str, Any], num: int) -> tuple[list[str], list[gguf.TokenType]]:
    """By id; rows of the matrix that no token has are named and never used."""
    texts = [f"[PAD{number}]" for number in range(num)]
    types = [gguf.TokenType.UNUSED] * num
    for text, number in tokenizer["model"]["vocab"].items():
        texts[number], types[number] = text, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        texts[token["id"]] = token["content"]
        special = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        types[token["id"]] = special
    return texts, types


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """transformers 5 writes it into a file of its own."""
    file = folder / TEMPLATE
    template = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    return template if isinstance(template, str) else None
