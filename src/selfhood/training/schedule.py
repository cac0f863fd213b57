"""Update -> Packs: every token that several samples share is computed once. No torch here.

Samples of one optimizer update form a tree of tokens: samples that begin alike share a path until
they part, and identical samples share all of it. Written out depth first, a tree is one sequence:

    "sys 你是谁? 我是小狐"    sys ─┬─ 你是谁? ─┬─ 我是小狐
    "sys 你是谁? 小狐"             │          └─ 小狐
    "sys 1+1?   2"                └─ 1+1? ── 2

    slot      0    1      2      3     4     5
    token     sys  你是谁? 我是小狐 小狐  1+1?  2
    position  0    1      2      2     1     2       depth in the tree, as if each row stood alone
    last      5    3      2      3     5     5       last slot of the subtree below

Slot i sees slot j exactly when j is i or above it in the tree: ``j <= i <= last[j]``. A token's
loss is predicted from its parent's slot and weighs as much as the samples that train it, together.
The gradient is that of the plain loop, up to rounding; dropout draws once per shared token.

Models whose layers cannot be told what to see (recurrent ones) get rows beside each other. Padding
stands at the end, where no token of a causal model can see it; only equal rows, and rows that begin
another, are shared:

    sys 你是谁? 我是小狐
    sys 你是谁? 小狐
    sys 1+1?   2      ...

Rows of the anchor (``training.anchor``) grow in the same tree; tokens that they keep are listed
apart from those that are learnt.

Sources: prefix sharing in training is described in arXiv 2511.00413 (Tree Training); the layout and
the ``last`` rule are our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from selfhood.data.encode import Sample

NO_PARENT = -1
PADDING = 0  # any token will do: nothing sees it


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A place where the base model's distribution is kept: ``slot`` predicts what place ``place``
    of the anchor's row ``row`` was predicted by."""

    slot: int
    weight: float
    row: int
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One forward pass: one tree, or ``num_rows`` chains of one length. All sequences but the
    targets have one entry per slot, row after row; ``positions`` and ``last`` count in the row."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    last: tuple[int, ...]
    target_slots: tuple[int, ...]
    """Slots that predict: the parent of each trained token."""
    target_ids: tuple[int, ...]
    target_weights: tuple[float, ...]
    origins: tuple[str, ...]
    kept: tuple[Kept, ...] = ()
    num_rows: int = 1

    @property
    def num_tokens(self) -> int:
        """Tokens computed, padding included."""
        return len(self.ids)

    @property
    def is_chain(self) -> bool:
        """Whether every slot sees all slots before it: plain causal attention."""
        return min(self.last) == self.num_tokens // self.num_rows - 1


def num_targets(samples: Sequence[Sample]) -> float:
    """Tokens that are learnt, by weight; the first token of a row is never predicted."""
    learnt = (sample for sample in samples if sample.anchor is None)
    return sum(sample.weight * sum(sample.trained[1:]) for sample in learnt)


def num_kept(samples: Sequence[Sample]) -> float:
    """Tokens of the anchor, by weight."""
    kept = (sample for sample in samples if sample.anchor is not None)
    return sum(sample.weight * sum(sample.trained[1:]) for sample in kept)


@dataclass(slots=True)
class _Node:
    """A token in the tree; ``weight`` is the summed weight of the samples that train it, ``kept``
    each of the anchor's rows that has it: (row, number among the trained, weight)."""

    token: int
    weight: float = 0.0
    kept: tuple[tuple[int, int, float], ...] = ()
    children: dict[int, _Node] = field(default_factory=dict)


def pack(samples: Sequence[Sample], token_budget: int) -> list[Pack]:
    """Lay an update out in as few passes as the budget allows.

    Samples are sorted, so that those which begin alike stand together, then taken while the tree
    stays within the budget. A sample longer than the budget gets a pass of its own, with its like.
    """
    packs: list[Pack] = []
    group: list[Sample] = []
    num_tokens = 0
    for sample in sorted(samples, key=lambda sample: sample.ids):
        shared = common_prefix(group[-1].ids, sample.ids) if group else 0
        added = len(sample.ids) - shared
        if group and added and num_tokens + added > token_budget:
            packs.append(_lay_out(group))
            group, num_tokens, added = [], 0, len(sample.ids)
        group.append(sample)
        num_tokens += added
    if group:
        packs.append(_lay_out(group))
    return packs


def pad(samples: Sequence[Sample], token_budget: int) -> list[Pack]:
    """Lay an update out as rows of like length beside each other; padding counts as tokens."""
    chains = [_lay_out(group) for group in _lines(samples)]
    packs: list[Pack] = []
    rows: list[Pack] = []
    for chain in sorted(chains, key=lambda chain: chain.num_tokens, reverse=True):
        if rows and (len(rows) + 1) * rows[0].num_tokens > token_budget:
            packs.append(_stack(rows))
            rows = []
        rows.append(chain)
    if rows:
        packs.append(_stack(rows))
    return packs


def round_up(pack: Pack, multiple: int) -> Pack:
    """The same pass with slots added that nobody sees, so that its width is one of a few.

    Libraries keep a kernel for every shape they meet. A run that brings a new one with every update
    would compile to its end, and what was compiled is never given back.
    """
    width = pack.num_tokens // pack.num_rows
    added = -width % multiple
    if not added or pack.num_rows > 1:
        return pack
    start = pack.positions[-1] + 1  # running on: a restart would look like another row
    return replace(
        pack,
        ids=(*pack.ids, *added * (PADDING,)),
        positions=(*pack.positions, *range(start, start + added)),
        last=(*pack.last, *added * (width + added - 1,)),
    )


def _lines(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """Groups of samples each of which begins the next one."""
    line: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: sample.ids):
        if line and sample.ids[: len(line[-1].ids)] != line[-1].ids:
            yield line
            line = []
        line.append(sample)
    if line:
        yield line


def _stack(chains: Sequence[Pack]) -> Pack:
    """Beside each other; the first is the longest."""
    width = chains[0].num_tokens
    ids: list[int] = []
    target_slots: list[int] = []
    kept: list[Kept] = []
    for number, chain in enumerate(chains):
        ids += (*chain.ids, *(width - chain.num_tokens) * (PADDING,))
        target_slots += (number * width + slot for slot in chain.target_slots)
        kept += (replace(each, slot=number * width + each.slot) for each in chain.kept)
    return Pack(
        num_rows=len(chains),
        ids=tuple(ids),
        positions=tuple(range(width)) * len(chains),
        last=(width - 1,) * len(ids),
        target_slots=tuple(target_slots),
        target_ids=tuple(token for chain in chains for token in chain.target_ids),
        target_weights=tuple(weight for chain in chains for weight in chain.target_weights),
        origins=tuple(origin for chain in chains for origin in chain.origins),
        kept=tuple(kept),
    )


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    length = min(len(a), len(b))
    return next((i for i in range(length) if a[i] != b[i]), length)


def for_nothing(pack: Pack) -> Pack:
    """The same pass, with no part in the gradient."""
    return replace(pack, target_weights=(0.0,) * len(pack.target_weights), kept=())


def _lay_out(samples: Sequence[Sample]) -> Pack:
    roots = _grow(samples)
    ids: list[int] = []
    positions: list[int] = []
    parents: list[int] = []
    weights: list[float] = []
    kept: list[Kept] = []
    for node, depth, parent in _depth_first(roots):
        ids.append(node.token)
        positions.append(depth)
        parents.append(parent)
        weights.append(node.weight)
        if parent != NO_PARENT:
            kept += (
                Kept(slot=parent, weight=weight, row=row, place=place)
                for row, place, weight in node.kept
            )
    targets = [slot for slot, weight in enumerate(weights) if weight and parents[slot] != NO_PARENT]
    return Pack(
        ids=tuple(ids),
        positions=tuple(positions),
        last=_subtree_ends(parents),
        target_slots=tuple(parents[slot] for slot in targets),
        target_ids=tuple(ids[slot] for slot in targets),
        target_weights=tuple(weights[slot] for slot in targets),
        origins=tuple(sample.origin for sample in samples),
        kept=tuple(kept),
    )


def _grow(samples: Sequence[Sample]) -> dict[int, _Node]:
    roots: dict[int, _Node] = {}
    for sample in samples:
        level = roots
        place = 0
        for token, trained in zip(sample.ids, sample.trained, strict=True):
            node = level.get(token)
            if node is None:
                node = level[token] = _Node(token)
            if trained and sample.anchor is None:
                node.weight += sample.weight
            elif trained and sample.anchor is not None:
                node.kept += ((sample.anchor, place, sample.weight),)
                place += 1
            level = node.children
    return roots


def _depth_first(roots: dict[int, _Node]) -> Iterator[tuple[_Node, int, int]]:
    """Nodes with their depth and their parent's slot."""
    stack = [(node, 0, NO_PARENT) for node in reversed(roots.values())]
    slot = 0
    while stack:
        node, depth, parent = stack.pop()
        yield node, depth, parent
        stack += [(child, depth + 1, slot) for child in reversed(node.children.values())]
        slot += 1


def _subtree_ends(parents: Sequence[int]) -> tuple[int, ...]:
    ends = list(range(len(parents)))
    for slot in range(len(parents) - 1, -1, -1):  # children before their parents
        parent = parents[slot]
        if parent != NO_PARENT:
            ends[parent] = max(ends[parent], ends[slot])
    return tuple(ends)
