"""A chat model made in a second: Qwen2's form and template, bytes as tokens, random weights.

folder = tiny_model(tmp_path / "tiny")     a complete Hugging Face folder, some 300 kB
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

# Of Qwen2.5's form: without a system message the maker's line appears; tools stand behind it.
CHAT_TEMPLATE = """\
{%- set own = messages[0]['role'] == 'system' %}
{{- '<|im_start|>system\\n' }}
{{- messages[0]['content'] if own else \
'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
{%- if tools %}
    {{- '\\n\\n<tools>' }}
    {%- for tool in tools %}{{- '\\n' + tool | tojson }}{%- endfor %}
    {{- '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for message in (messages[1:] if own else messages) %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] }}
    {%- for call in message['tool_calls'] %}
        {{- '<tool_call>' + call['function'] | tojson + '</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""


def tiny_tokenizer() -> Any:
    """One token a byte, and the three special tokens."""
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def tiny_network(*, seed: int = 0, layers: int = 2, width: int = 64) -> Any:
    """A random Qwen2 with tied embeddings, in float32 and in eval mode."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=259,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=258,
        pad_token_id=256,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config).eval()  # type: ignore[no-untyped-call]


def tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """A folder that ``--model`` takes."""
    tiny_network(seed=seed).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
