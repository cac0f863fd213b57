"""Probes -> an engine, all of them -> replies -> rules -> Judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from selfhood.console import Progress
from selfhood.engine.types import Engine, Request, Sampling, counted, fold
from selfhood.evaluate.probes import ABOUT_ITSELF
from selfhood.evaluate.types import Judged, Probe, Speaker, Verdict

# New tokens: enough to see what the answer is, and not more.
LONGEST: Mapping[str, int] = {**dict.fromkeys(ABOUT_ITSELF, 48), "neutral": 64, "vendor": 64}
LONGEST_TASK = 192
LONGEST_THOUGHT = 512
TITLES: Mapping[Speaker, str] = {"base": "asking the base", "tuned": "asking"}

Judge = Callable[[Probe, str, str], tuple[Verdict, ...]]
"""Of a probe, the reply, and what the base replied to the same (or nothing)."""


def examine(
    engine: Engine,
    probes: Sequence[Probe],
    judge: Judge,
    *,
    speakers: Mapping[Speaker, str | None],
    seed: int,
) -> tuple[Judged, ...]:
    """Every reply, judged, in the order of the probes, one speaker after the other. ``speakers``
    names the adapter of each; the base is asked the plainest probes only."""
    replies: dict[Speaker, dict[Probe, str]] = {}
    for speaker, adapter in sorted(speakers.items()):  # the base first: its words are known then
        asked = [probe for probe in probes if speaker == "tuned" or _is_plainest(probe)]
        said = ask(engine, asked, adapter, seed=seed, title=TITLES[speaker])
        replies[speaker] = dict(zip(asked, said, strict=True))
    base = replies.get("base", {})
    return tuple(
        Judged(
            probe=probe,
            speaker=speaker,
            reply=reply,
            verdicts=judge(probe, reply, base.get(probe, "")),
        )
        for speaker in speakers
        for probe, reply in replies[speaker].items()
    )


def ask(
    engine: Engine,
    probes: Sequence[Probe],
    adapter: str | None,
    *,
    seed: int,
    title: str,
) -> list[str]:
    """One reply a probe, in order, with what was begun for it in front. What may take longest is
    asked first, so that nothing long is left for the end; a sampled one draws from a seed of its
    own."""
    longest_first = sorted(range(len(probes)), key=lambda number: -_most_tokens(probes[number]))
    requests = [_request(probes[number], adapter, seed + number) for number in longest_first]
    replies = [""] * len(probes)
    with Progress(title, total=len(probes), unit="question") as bar:
        said = fold(counted(engine.stream(requests), bar), len(requests))
    for number, reply in zip(longest_first, said, strict=True):
        replies[number] = begun(probes[number]) + reply.text
    return replies


def begun(probe: Probe) -> str:
    """The beginning of the reply, where the probe gives it one."""
    last = probe.messages[-1]
    return last.content if last.role == "assistant" else ""


def _request(probe: Probe, adapter: str | None, seed: int) -> Request:
    sampling = Sampling(
        temperature=probe.temperature, max_new_tokens=_most_tokens(probe), seed=seed
    )
    return Request(
        messages=probe.messages, sampling=sampling, adapter=adapter, thinking=probe.thinking
    )


def _most_tokens(probe: Probe) -> int:
    thought = LONGEST_THOUGHT if probe.thinking else 0
    return thought + LONGEST.get(probe.topic, LONGEST_TASK)


def _is_plainest(probe: Probe) -> bool:
    return probe.turn == 1 and probe.temperature == 0 and probe.thinking is None


def without_begun(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Those that any server can be asked: few let a client begin the reply."""
    return tuple(probe for probe in probes if not begun(probe))
