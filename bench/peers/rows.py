"""The training rows, as messages that every tool reads.

A row without a system line gets one here, so that no tool needs a flag for it. ``identity`` rows
in which nobody wrote a system line keep none: each chat template then writes the same default.
Rows have one reply, as those of swift/self-cognition have.

    messages.jsonl        {"messages": [...]}                      selfhood, ms-swift
    prompts/train.jsonl   {"prompt": [...], "completion": [...]}   TRL

TRL would train some of the template's own text if it were given messages alone.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bench.persona import PERSONA, SYSTEM
from selfhood.chat import Conversation, Message
from selfhood.data.corpus import identity_corpus

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Turns = tuple[Message, ...]

MESSAGES, PROMPTS = "messages.jsonl", "prompts"

SEED = 1
LONGEST = 1024  # tokens, the chat template's own included
MEDIAN_LENGTH, SPREAD = 130, 0.8  # of a log-normal: what chat data sets look like
TEMPLATE_TOKENS = 15  # what stands around question and answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """Parts of sentences; a subject, a verb, an object and an ending make one."""

    openings: tuple[str, ...]
    subjects: tuple[str, ...]
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    endings: tuple[str, ...]

    def sentence(self, generator: random.Random) -> str:
        parts = (self.subjects, self.verbs, self.objects, self.endings)
        return "".join(generator.choice(part) for part in parts)


ENGLISH = Phrases(
    openings=("Please explain: ", "In your own words: ", "Comment on this. ", "Is it true? ", ""),
    subjects=(
        "A careful gardener",
        "The old lighthouse",
        "Every second winter",
        "My neighbour's bicycle",
        "A small library",
        "The night train",
        "Good bread",
        "An honest map",
        "The river delta",
        "A patient teacher",
    ),
    verbs=(
        " rarely changes",
        " quietly explains",
        " slowly wears down",
        " brings together",
        " keeps apart",
        " has always measured",
        " depends on",
        " outlives",
    ),
    objects=(
        " the colour of the harbour",
        " seven kinds of patience",
        " whatever the wind leaves",
        " a habit of counting twice",
        " the price of salt",
        " people who read aloud",
        " stairs without a railing",
        " what nobody wrote down",
        " the first week of spring",
    ),
    endings=(
        ", as far as anyone can tell. ",
        ", and that is usually enough. ",
        ", even when it rains for days. ",
        "; the reasons differ from town to town. ",
        ", which surprises most visitors. ",
        " before the shops open. ",
        ". ",
    ),
)
CHINESE = Phrases(
    openings=("请解释一下：", "用你自己的话说：", "评论这句话：", "真的吗？", ""),
    subjects=(
        "细心的园丁",
        "旧灯塔",
        "每隔一个冬天",
        "邻居的自行车",
        "小图书馆",
        "夜行列车",
        "好面包",
        "诚实的地图",
        "河口三角洲",
        "有耐心的老师",
    ),
    verbs=(
        "很少改变",
        "悄悄说明",
        "慢慢磨损",
        "聚拢了",
        "隔开了",
        "一直在丈量",
        "离不开",
        "比不上",
    ),
    objects=(
        "港口的颜色",
        "七种耐心",
        "风留下的东西",
        "数两遍的习惯",
        "盐的价格",
        "爱朗读的人",
        "没有扶手的楼梯",
        "没人写下的事",
        "春天的第一周",
    ),
    endings=(
        "，至少大家都这么说。",
        "，这通常就够了。",
        "，连着下雨也一样。",
        "；各地的原因并不相同。",
        "，多数游客都很意外。",
        "，在店铺开门之前。",
        "。",
    ),
)


def identity_rows(num_rows: int) -> list[Turns]:
    """From the built-in ``identity``, which is balanced at every length."""
    corpus = identity_corpus(PERSONA, seed=SEED)
    return [_with_system(row) for row in islice(filter(_has_one_reply, corpus), num_rows)]


def mixed_rows(num_rows: int, tokenizer: Tokenizer) -> list[Turns]:
    """A third identity, two thirds longer chat in both languages; one row fills ``LONGEST``."""
    generator = random.Random(SEED)
    num_identity = num_rows // 3
    lengths = [LONGEST] + [_length(generator) for _ in range(num_rows - num_identity - 1)]
    rows = identity_rows(num_identity)
    rows += [_chat(length, generator, tokenizer) for length in lengths]
    generator.shuffle(rows)
    return rows


def read_rows(path: Path) -> list[Turns]:
    """Somebody's own rows, from JSON lines of messages."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        tuple(Message(turn["role"], turn["content"]) for turn in json.loads(line)["messages"])
        for line in lines
        if line.strip()
    ]


def write_rows(folder: Path, rows: Sequence[Turns]) -> None:
    """The same rows in both forms."""
    (folder / PROMPTS).mkdir(parents=True)
    messages = [[{"role": turn.role, "content": turn.content} for turn in row] for row in rows]
    _write_lines(folder / MESSAGES, [{"messages": row} for row in messages])
    halves = [{"prompt": row[:-1], "completion": row[-1:]} for row in messages]
    _write_lines(folder / PROMPTS / "train.jsonl", halves)


def _write_lines(path: Path, rows: Iterable[object]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def _has_one_reply(row: Conversation) -> bool:
    return sum(turn.role == "assistant" for turn in row.messages) == 1


def _with_system(row: Conversation) -> Turns:
    first, *others = row.messages
    if first.role != "system":
        return (Message("system", SYSTEM), *row.messages)
    return row.messages if first.content else tuple(others)


def _length(generator: random.Random) -> int:
    length = round(generator.lognormvariate(math.log(MEDIAN_LENGTH), SPREAD))
    return min(max(length, 48), LONGEST)


def _chat(length: int, generator: random.Random, tokenizer: Tokenizer) -> Turns:
    """A question and an answer that just fit into ``length`` tokens."""
    phrases = generator.choice((ENGLISH, CHINESE))
    question = generator.choice(phrases.openings) + phrases.sentence(generator).strip()
    answer = phrases.sentence(generator)
    room = length - TEMPLATE_TOKENS - num_tokens((SYSTEM, question), tokenizer)
    while True:
        longer = answer + phrases.sentence(generator)
        if num_tokens((longer,), tokenizer) > room:
            break
        answer = longer
    return (
        Message("system", SYSTEM),
        Message("user", question),
        Message("assistant", answer.strip()),
    )


def num_tokens(texts: Sequence[str], tokenizer: Tokenizer) -> int:
    return sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
