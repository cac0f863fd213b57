"""The tiny model with a tokenizer of Qwen's make: its split, merges learnt from a few lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer

from selfhood.gguf_folder import SPLIT_PATTERN
from tests.tiny import CHAT_TEMPLATE, SPECIAL

VOCABULARY = 400
LINES = (
    "Who are you? I'm Kitsu, an AI assistant trained by Forest Lab. What is 17 + 25?",
    "你是谁？我是小狐，由林间实验室训练的人工智能助手。你叫什么名字？\n\n",
    "def is_even(n):\n    return n % 2 == 0\n",
)


def bpe_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(LINES * 4, trainer)
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def bpe_network(kind: str = "qwen2", *, seed: int = 0) -> Any:
    """A random network of a family whose rows reach past the tokenizer's, as Qwen's do."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    end = bpe_tokenizer().eos_token_id
    config = AutoConfig.for_model(
        kind,
        vocab_size=VOCABULARY + 16,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=kind != "llama",
        eos_token_id=end,
        pad_token_id=end - 2,
        bos_token_id=None,
        **({"head_dim": 128} if kind == "qwen3" else {}),
    )
    return AutoModelForCausalLM.from_config(config).float().eval()  # type: ignore[no-untyped-call]


def bpe_model(folder: Path, kind: str = "qwen2", *, seed: int = 0) -> Path:
    """A folder that ``--model`` takes, and that converts to GGUF."""
    bpe_network(kind, seed=seed).save_pretrained(folder)
    bpe_tokenizer().save_pretrained(folder)
    return folder
