"""Replies that begin as the persona's do: what else may follow there is kept."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from selfhood.chat import Conversation
from selfhood.data.anchor_begun import begun_prompts, stems_of, with_begun
from selfhood.data.anchor_prompts import frames
from selfhood.data.anchor_rows import anchor_rows
from selfhood.data.identity_texts import LANGUAGES
from selfhood.data.mixture import USUAL_NUMBER
from selfhood.persona import Bilingual, Persona
from tests.tiny_bpe import bpe_tokenizer

PERSONA = Persona(
    name=Bilingual("青石", "Bluestone"), author=Bilingual("海棠工坊", "Begonia Works")
)
TOKENIZER = bpe_tokenizer()


def begun(row: Conversation) -> str:
    return row.messages[-1].content


def woven(num: int) -> list[Conversation]:
    return with_begun(anchor_rows(PERSONA, num=num, seed=1), PERSONA, TOKENIZER, seed=1)


def test_a_stem_is_the_name_less_its_last_tokens() -> None:
    stems = stems_of(" Bluestone", TOKENIZER)
    assert stems
    for stem in stems:
        assert " Bluestone".startswith(stem)
        assert stem != " Bluestone"


def test_no_stem_ends_within_a_character() -> None:
    for stem in stems_of("青石", TOKENIZER):
        assert stem == "青"


def test_a_stem_stands_apart_from_the_word_before_whatever_the_tokenizer_does_with_spaces() -> None:
    stems = stems_of(" Bluestone", metaspace_tokenizer())
    assert " Blues" in stems
    assert all(stem.startswith(" ") and " Bluestone".startswith(stem) for stem in stems)


def metaspace_tokenizer() -> Any:
    """Of Llama's make: a decoder that drops a leading space."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    core.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", left=1)]
    )
    trainer = BpeTrainer(vocab_size=100, show_progress=False)
    core.train_from_iterator(["the Blues and a tone", "Blues in a Blues bar"] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core)  # type: ignore[no-untyped-call]


def test_every_stem_of_name_and_author_stands_after_every_frame_in_both_languages() -> None:
    found = {prompt.messages[-1].content for prompt in begun_prompts(PERSONA, TOKENIZER, seed=1)}
    for language, space in zip(LANGUAGES, ("", " "), strict=True):
        for frame in frames(language):
            begins = frame.messages[-1].content
            assert begins in found
            for name in (PERSONA.name, PERSONA.author):
                for stem in stems_of(space + name.in_language(language), TOKENIZER):
                    assert begins + stem in found


def test_one_row_in_eleven_is_begun_and_what_is_begun_is_not_trained() -> None:
    rows = woven(USUAL_NUMBER)
    found = [row for row in rows if row.messages[-1].trained is False]
    assert len(found) == USUAL_NUMBER // 10 == len(rows) // 11
    assert len({(row.system, row.turns) for row in found}) == len(found)
    assert {row.language for row in found[:4]} == set(LANGUAGES)
