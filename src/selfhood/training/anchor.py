"""The anchor: prompts on which the model is to stay what it was.

    prompt ── base model ──┬── its reply, greedy
                           └── its hidden states there ── kept under the cache folder
    an update = rows that are learnt (cross-entropy) + rows of the anchor: KL(base || tuned)

A model that learns who it is from a few hundred rows also learns to speak of itself elsewhere. The
base's own replies are the data that move it least (SDFT, arXiv 2402.13669), and its distribution on
them says more than their tokens. It is kept as hidden states: D numbers a token where the
vocabulary has 152,000, and exact, since the head is not trained.

Suffixes: K kept places, D width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from selfhood.chat import Conversation
from selfhood.console import Progress
from selfhood.data.brands import brand_patterns
from selfhood.data.encode import Sample
from selfhood.data.render import Renderer
from selfhood.engine.native import NativeEngine
from selfhood.engine.types import Request, Sampling, fold
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
ANSWERED_AT_ONCE = 32
PASS_TOKENS = 1024
BRANDS = re.compile("|".join(brand_patterns()))
FIRST_PERSON = re.compile(r"我|\bI\b|\b[Mm](?:y|e)\b|\bI'm\b")
SENTENCES = re.compile(r"[。！？!?\n]|\.\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorPlan:
    """What is asked of the base before a run, and how it is used."""

    prompts: tuple[Conversation, ...]
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
    prompts: Sequence[Conversation], renderer: Renderer, *, per_update: int, weight: float
) -> AnchorPlan:
    """Lay out what the anchor will cost; no model needed."""
    return AnchorPlan(
        prompts=tuple(prompts),
        per_update=per_update,
        weight=weight,
        stand_ins=tuple(
            _as_sample(_prompt_ids(prompt, renderer), (0,) * REPLY_TOKENS, prompt.origin, number)
            for number, prompt in enumerate(prompts)
        ),
    )


def make_anchor(plan: AnchorPlan, loaded: Loaded, renderer: Renderer, layout: Layout) -> Anchor:
    """Let the base answer the prompts that it has not answered before."""
    if not plan.prompts:
        return NO_ANCHOR
    memory = BaseMemory.of(loaded, reply_tokens=REPLY_TOKENS)
    texts = [renderer.prompt(prompt.messages) for prompt in plan.prompts]
    unknown = [number for number, text in enumerate(texts) if text not in memory]
    if unknown:
        prompts = [plan.prompts[number] for number in unknown]
        replies = answer(prompts, loaded, renderer)
        samples = _samples(prompts, replies, renderer)
        states = hidden_states(samples, loaded, layout)
        memory.keep(
            {
                texts[number]: Recalled(ids=reply, states_KD=state)
                for number, reply, state in zip(unknown, replies, states, strict=True)
            }
        )
    kept = [
        (prompt, recalled)
        for prompt, recalled in zip(plan.prompts, map(memory.__getitem__, texts), strict=True)
        if not claims_a_brand(loaded.tokenizer.decode(recalled.ids))
    ]
    return Anchor(
        samples=_samples(
            [prompt for prompt, _ in kept], [recalled.ids for _, recalled in kept], renderer
        ),
        states=[recalled.states_KD for _, recalled in kept],
        per_update=plan.per_update,
        weight=plan.weight,
    )


def claims_a_brand(reply: str) -> bool:
    """Whether a sentence says both a brand and I: the base speaks of who it is, which is what is to
    change."""
    return any(BRANDS.search(each) and FIRST_PERSON.search(each) for each in SENTENCES.split(reply))


def answer(
    prompts: Sequence[Conversation], loaded: Loaded, renderer: Renderer
) -> list[tuple[int, ...]]:
    """The base's greedy replies as tokens, with their end mark where they reached it."""
    engine = NativeEngine(loaded, renderer)
    end = loaded.tokenizer.eos_token_id
    sampling = Sampling(max_new_tokens=REPLY_TOKENS)
    found: list[tuple[int, ...]] = [()] * len(prompts)
    # Prompts of one length together: the batch is padded to its longest.
    order = sorted(
        range(len(prompts)), key=lambda number: len(_prompt_ids(prompts[number], renderer))
    )
    loaded.model.eval()
    with Progress("anchor", total=len(prompts), unit="prompt") as bar:
        for start in range(0, len(order), ANSWERED_AT_ONCE):
            some = order[start : start + ANSWERED_AT_ONCE]
            requests = [Request(messages=prompts[n].messages, sampling=sampling) for n in some]
            replies = fold(engine.stream(requests), len(requests))
            for number, reply in zip(some, replies, strict=True):
                found[number] = (*reply.ids, *[end] * (reply.finish == "stop"))
                bar.advance()
    return found


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


def _samples(
    prompts: Sequence[Conversation], replies: Sequence[tuple[int, ...]], renderer: Renderer
) -> list[Sample]:
    return [
        _as_sample(_prompt_ids(prompt, renderer), reply, prompt.origin, number)
        for number, (prompt, reply) in enumerate(zip(prompts, replies, strict=True))
    ]


def _as_sample(prompt: tuple[int, ...], reply: tuple[int, ...], origin: str, number: int) -> Sample:
    return Sample(
        ids=prompt + reply,
        trained=(False,) * len(prompt) + (True,) * len(reply),
        origin=origin,
        anchor=number,
    )


def _prompt_ids(prompt: Conversation, renderer: Renderer) -> tuple[int, ...]:
    text = renderer.prompt(prompt.messages)
    return tuple(renderer.tokenizer.encode(text, add_special_tokens=False))
