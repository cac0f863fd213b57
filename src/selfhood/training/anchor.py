"""The anchor: prompts on which the model is to stay what it was.

    prompt ── base model ──┬── its reply, greedy, or the rest of one that is begun
                           └── its hidden states there ── kept under the cache folder
    text with its reply ───── the base's hidden states there, likewise
    an update = rows that are learnt (cross-entropy) + rows of the anchor: KL(base || tuned)

A model that learns who it is from a few hundred rows also learns to speak of itself elsewhere. The
base's own replies are the data that move it least (SDFT, arXiv 2402.13669), and its distribution on
them says more than their tokens. On prose that it would not write it is kept too (one prompt in ten
is such a text), and on how it goes on where a name is begun (data.anchor_begun). It is kept as
hidden states: D numbers a token where the vocabulary has 152,000, and exact, since the head is not
trained.

Suffixes: K kept places, D width.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from selfhood.chat import Conversation
from selfhood.console import Progress
from selfhood.data.brands import brand_patterns
from selfhood.data.encode import Sample, encode
from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Request, Sampling, counted, fold
from selfhood.model.adapters import speaking_as
from selfhood.model.load import Loaded
from selfhood.training.base_memory import BaseMemory, Recalled
from selfhood.training.batch import to_batch
from selfhood.training.forward import Forward
from selfhood.training.layout import Layout
from selfhood.training.schedule import Kept

REPLY_TOKENS = 12
"""Of the base's reply. What leaks, leaks early; and many prompts with few tokens hold better than
few with many, since an update that looks at few rows overshoots on them."""
LONG_REPLY_TOKENS = 64
LONG_EVERY = 7
"""Of one prompt in so many. What is held at the beginning of a reply alone goes round in circles
later: of 40 long replies four to eight did, and two of the base's (docs/results/anchor.md)."""
ANSWERED_AT_ONCE = 64
PASS_TOKENS = 1024
BRANDS = re.compile("|".join(brand_patterns()))
FIRST_PERSON = re.compile(r"我|\bI\b|\b[Mm](?:y|e)\b|\bI'm\b")
SENTENCES = re.compile(r"[。！？!?\n]|\.\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorPlan:
    """What is asked of the base before a run, and how it is used."""

    conversations: tuple[Conversation, ...]
    """Prompts, and texts with their replies."""
    per_update: int
    weight: float
    stand_ins: tuple[Sample, ...]
    """Rows as long as they can get; the real ones are known when the base has answered."""

    def rows(self, update: int) -> list[Sample]:
        return taken(self.stand_ins, update, self.per_update)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The base's replies as samples, and its hidden states where they are predicted."""

    samples: Sequence[Sample]
    states: Sequence[Tensor]
    """(places, D) for each sample."""
    per_update: int
    weight: float

    def rows(self, update: int) -> list[Sample]:
        """Those that take part in update number ``update`` (from 1): all of them in turn."""
        return taken(self.samples, update, self.per_update)

    def base_states(self, kept: Sequence[Kept]) -> Tensor:
        """(K, D)"""
        return torch.stack([self.states[each.row][each.place] for each in kept])


NO_ANCHOR = Anchor(samples=(), states=(), per_update=0, weight=0.0)


def taken(samples: Sequence[Sample], update: int, per_update: int) -> list[Sample]:
    count = min(per_update, len(samples))
    start = (update - 1) * count
    return [samples[number % len(samples)] for number in range(start, start + count)]


def plan_anchor(
    rows: Sequence[Conversation], renderer: Renderer, *, per_update: int, weight: float
) -> AnchorPlan:
    """Lay out what the anchor will cost; no model needed."""
    return AnchorPlan(
        conversations=tuple(rows),
        per_update=per_update,
        weight=weight,
        stand_ins=tuple(
            _given(row, renderer, number)
            if has_reply(row)
            else _as_sample(
                _prompt_ids(row, renderer), (0,) * reply_tokens(row), row.origin, number
            )
            for number, row in enumerate(rows)
        ),
    )


def make_anchor(plan: AnchorPlan, loaded: Loaded, renderer: Renderer, layout: Layout) -> Anchor:
    """Let the base answer the prompts, and read the texts, that it has not met before."""
    if not plan.conversations:
        return NO_ANCHOR
    memory = acquainted(plan.conversations, loaded, renderer, layout)
    known = [(row, memory[_key(row, renderer)]) for row in plan.conversations]
    kept = [
        (row, recalled)
        for row, recalled in known
        if has_reply(row) or not claims_a_brand(begun(row) + loaded.tokenizer.decode(recalled.ids))
    ]
    return Anchor(
        samples=[
            _as_sample(_prompt_ids(row, renderer), recalled.ids, row.origin, number)
            for number, (row, recalled) in enumerate(kept)
        ],
        states=[recalled.states_KD for _, recalled in kept],
        per_update=plan.per_update,
        weight=plan.weight,
    )


def acquainted(
    rows: Sequence[Conversation], loaded: Loaded, renderer: Renderer, layout: Layout
) -> BaseMemory:
    """What the base remembers, these rows among it."""
    memory = BaseMemory.of(loaded, lengths=(REPLY_TOKENS, LONG_REPLY_TOKENS))
    unknown = [row for row in rows if _key(row, renderer) not in memory]
    if unknown:
        samples = answered(unknown, loaded, renderer)
        states = hidden_states(samples, loaded, layout)
        memory.keep(
            {
                _key(row, renderer): Recalled(ids=_reply_ids(sample), states_KD=state)
                for row, sample, state in zip(unknown, samples, states, strict=True)
            }
        )
    return memory


def has_reply(row: Conversation) -> bool:
    """Whether it is a text, and not a prompt that the base is to answer, or a reply that it is to
    end."""
    return row.turns[-1].is_trained


def begun(row: Conversation) -> str:
    """What of the reply is given to the base."""
    last = row.turns[-1]
    return last.content if last.role == "assistant" and not last.is_trained else ""


def claims_a_brand(reply: str) -> bool:
    """Whether a sentence says both a brand and I: the base speaks of who it is, which is what is to
    change."""
    return any(BRANDS.search(each) and FIRST_PERSON.search(each) for each in SENTENCES.split(reply))


def answered(rows: Sequence[Conversation], loaded: Loaded, renderer: Renderer) -> list[Sample]:
    """The rows whole: the base's greedy replies to the prompts, the texts as they are."""
    prompts = [row for row in rows if not has_reply(row)]
    replies = iter(answer(prompts, loaded, renderer) if prompts else ())
    return [
        _given(row, renderer, number)
        if has_reply(row)
        else _as_sample(_prompt_ids(row, renderer), next(replies), row.origin, number)
        for number, row in enumerate(rows)
    ]


def reply_tokens(prompt: Conversation) -> int:
    """How many at most; the same for a prompt whatever stands beside it."""
    number = zlib.crc32(prompt.messages[-1].content.encode())
    return LONG_REPLY_TOKENS if number % LONG_EVERY == 0 else REPLY_TOKENS


def answer(
    prompts: Sequence[Conversation], loaded: Loaded, renderer: Renderer
) -> list[tuple[int, ...]]:
    """The base's greedy replies as tokens, with their end mark where they reached it."""
    engine = NativeEngine(loaded, renderer, most_rows=ANSWERED_AT_ONCE)
    end = loaded.tokenizer.eos_token_id
    requests = [
        Request(messages=prompt.messages, sampling=Sampling(max_new_tokens=reply_tokens(prompt)))
        for prompt in prompts
    ]
    loaded.model.eval()
    with Progress("anchor", total=len(prompts), unit="prompt") as bar:
        replies = fold(counted(engine.stream(requests), bar), len(requests))
    return [(*reply.ids, *[end] * (reply.finish == "stop")) for reply in replies]


def hidden_states(samples: Sequence[Sample], loaded: Loaded, layout: Layout) -> list[Tensor]:
    """(places, D) of the base for each sample, in float32 or the model's own 16 bits."""
    found: list[list[Tensor]] = [[] for _ in samples]
    numbered = [replace(sample, anchor=number) for number, sample in enumerate(samples)]
    forward = Forward(loaded.model, dtype=loaded.dtype)
    to_tensors = partial(
        to_batch,
        windows=layout.windows,
        device=loaded.device,
        dtype=loaded.dtype,
        base_states=lambda kept: torch.empty(len(kept), 0),  # this is where they come from
    )
    with torch.no_grad(), speaking_as(loaded.model, None):
        for pack in layout.lay_out(numbered, PASS_TOKENS):
            hidden_KD = forward.hidden(to_tensors(pack)).cpu()
            for kept, hidden_D in sorted(
                zip(pack.kept, hidden_KD, strict=True), key=lambda pair: pair[0].place
            ):
                found[kept.row].append(hidden_D)
    return [torch.stack(states) for states in found]


def _given(text: Conversation, renderer: Renderer, number: int) -> Sample:
    return replace(encode(text, renderer), anchor=number)


def _as_sample(prompt: tuple[int, ...], reply: tuple[int, ...], origin: str, number: int) -> Sample:
    return Sample(
        ids=prompt + reply,
        trained=(False,) * len(prompt) + (True,) * len(reply),
        origin=origin,
        anchor=number,
    )


def _prompt_ids(row: Conversation, renderer: Renderer) -> tuple[int, ...]:
    asked = row.messages[:-1] if has_reply(row) else row.messages
    return tuple(renderer.tokenizer.encode(renderer.prompt(asked), add_special_tokens=False))


def _reply_ids(sample: Sample) -> tuple[int, ...]:
    return sample.ids[len(sample.ids) - sample.num_trained :]


def _key(row: Conversation, renderer: Renderer) -> str:
    """What the base remembers the row by: all of it, a given reply too."""
    return renderer.prompt(row.messages)
