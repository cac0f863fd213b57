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
"""One prompt in so many keeps a long reply: what stands late in a text is to stay too. It shares no
divisor with the number of system lines that prompts take in turn, so each line has long replies."""
ANSWERED_AT_ONCE = 64
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
            _as_sample(
                _prompt_ids(prompt, renderer), (0,) * reply_tokens(number), prompt.origin, number
            )
            for number, prompt in enumerate(prompts)
        ),
    )


def make_anchor(plan: AnchorPlan, loaded: Loaded, renderer: Renderer, layout: Layout) -> Anchor:
    """Let the base answer the prompts that it has not answered before."""
    if not plan.prompts:
        return NO_ANCHOR
    recalled: dict[int, Recalled] = {}
    for most in (REPLY_TOKENS, LONG_REPLY_TOKENS):
        numbers = [n for n in range(len(plan.prompts)) if reply_tokens(n) == most]
        prompts = [plan.prompts[number] for number in numbers]
        recalled |= zip(numbers, recall(prompts, most, loaded, renderer, layout), strict=True)
    kept = [
        (prompt, recalled[number])
        for number, prompt in enumerate(plan.prompts)
        if not claims_a_brand(loaded.tokenizer.decode(recalled[number].ids))
    ]
    return Anchor(
        samples=_samples(
            [prompt for prompt, _ in kept], [reply.ids for _, reply in kept], renderer
        ),
        states=[reply.states_KD for _, reply in kept],
        per_update=plan.per_update,
        weight=plan.weight,
    )


def reply_tokens(number: int) -> int:
    """At most so many are kept of the reply to prompt ``number``, from 0."""
    return LONG_REPLY_TOKENS if number % LONG_EVERY == LONG_EVERY - 1 else REPLY_TOKENS


def recall(
    prompts: Sequence[Conversation],
    most: int,
    loaded: Loaded,
    renderer: Renderer,
    layout: Layout,
) -> list[Recalled]:
    """The base's replies of at most ``most`` tokens; it is asked what it has not been asked."""
    memory = BaseMemory.of(loaded, reply_tokens=most)
    texts = [renderer.prompt(prompt.messages) for prompt in prompts]
    unknown = [number for number, text in enumerate(texts) if text not in memory]
    if unknown:
        asked = [prompts[number] for number in unknown]
        replies = answer(asked, most, loaded, renderer)
        states = hidden_states(_samples(asked, replies, renderer), loaded, layout)
        memory.keep(
            {
                texts[number]: Recalled(ids=reply, states_KD=state)
                for number, reply, state in zip(unknown, replies, states, strict=True)
            }
        )
    return [memory[text] for text in texts]


def claims_a_brand(reply: str) -> bool:
    """Whether a sentence says both a brand and I: the base speaks of who it is, which is what is to
    change."""
    return any(BRANDS.search(each) and FIRST_PERSON.search(each) for each in SENTENCES.split(reply))


def answer(
    prompts: Sequence[Conversation], most: int, loaded: Loaded, renderer: Renderer
) -> list[tuple[int, ...]]:
    """The base's greedy replies as tokens, with their end mark where they reached it."""
    engine = NativeEngine(loaded, renderer, most_rows=ANSWERED_AT_ONCE)
    end = loaded.tokenizer.eos_token_id
    sampling = Sampling(max_new_tokens=most)
    requests = [Request(messages=prompt.messages, sampling=sampling) for prompt in prompts]
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
