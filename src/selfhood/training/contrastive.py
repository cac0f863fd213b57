"""How A starts, and in which coordinates it moves, with ``--init_weights contrastive``.

    learnt rows ── base ── inputs of a layer, X_TI ─┐
                                                    ├── A: the R directions a with the largest
    anchor rows ── base ── inputs of a layer, Y_TI ─┘   |X a|^2 / (|Y a|^2 + ridge)

An update changes what a layer says by B A x; where A x is small, the layer says what it said. An A
drawn by lot sees the anchor's tokens as strongly as the learnt ones; this one sees them several
times less, before anything is trained. Both matrices then learn: with A frozen, as in LoRA-FA
(arXiv 2308.03303), the same recall came with more drift (docs/results/anchor.md).

AdamW moves every number of a matrix by about the learning rate, however strongly ordinary tokens
are felt there, and inputs of a transformer have a few directions that are felt by all. So A takes
its steps in the coordinates of a frame F, along each of which the anchor's tokens have the same
energy: A <- A + step F' (``optimizer.FramedAdamW``). It is the input's half of K-FAC (Martens and
Grosse, arXiv 1503.05671) with the anchor's tokens, not the learnt ones, for a measure.

The directions are those of contrastive PCA (Abid et al., 2018), sought among what ``SKETCH`` learnt
tokens span, so that wide layers need no wide covariances; the frame spans the same. Null spaces of
old knowledge protect it in the same way in AlphaEdit (arXiv 2410.02355), without regard for what is
to be learnt.

Suffixes: T tokens, I inputs of a layer, S tokens of the sketch, R rank.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from selfhood.console import Progress
from selfhood.data.corpus import own_words
from selfhood.data.encode import Sample
from selfhood.model.adapters import ADAPTER, speaking_as
from selfhood.model.load import Loaded
from selfhood.model.tuners.lora import lora_layers
from selfhood.persona import Persona
from selfhood.training.anchor import PASS_TOKENS
from selfhood.training.batch import to_batch
from selfhood.training.forward import Forward
from selfhood.training.layout import Layout
from selfhood.training.optimizer import Frames
from selfhood.training.schedule import Pack

SKETCH = 256
"""Learnt tokens whose inputs are kept, spread over the rows."""
MOST_ROWS = 128
"""Of either side; more would move the directions little and cost seconds."""
RIDGE = 0.1
"""Of the anchor's mean energy by direction. Without it a direction that few anchor tokens happened
to use would look safe."""
RIDGE_OF_STEPS = 0.3
"""The same for the frame: what looks safe is walked along for a whole run."""
MOST_LOOKED_AT = 512
POWER_STEPS = 8


@dataclass(frozen=True, slots=True)
class Sketch:
    """What the learnt rows send into a layer, in coordinates of their own span."""

    basis_IS: Tensor
    learnt_SS: Tensor
    """Mean outer product of the learnt tokens."""

    @classmethod
    def of(cls, inputs_TI: Tensor) -> Sketch:
        basis_IS, coordinates_ST = torch.linalg.qr(inputs_TI.float().T)
        learnt_SS = coordinates_ST @ coordinates_ST.T / len(inputs_TI)
        return cls(basis_IS.to(inputs_TI.dtype), learnt_SS)

    def energy(self, inputs_TI: Tensor) -> Tensor:
        """(S, S): summed outer products of ``inputs_TI``, as far as they lie in the span."""
        inside_TS = (inputs_TI @ self.basis_IS).float()
        return inside_TS.T @ inside_TS


def frame_bytes(read: int, dtype: torch.dtype) -> int:
    """At most: of a model whose layers read so many numbers of a token. Layers that read the same
    share a frame."""
    return read * SKETCH * dtype.itemsize


def aim(loaded: Loaded, learnt: Sequence[Sample], kept: Sequence[Sample], layout: Layout) -> Frames:
    """Give every A of the model's adapter its directions; the frames, (I, S), in which each is to
    move, in the run's dtype. Deterministic."""
    aiming = Aiming(loaded, layout)
    frames: dict[str, Tensor] = {}
    with Progress("aiming", total=3, unit="step") as bar:
        sketches = aiming.sketches(spread(learnt))
        bar.advance()
        energies = aiming.energies(spread(kept), sketches)
        bar.advance()
        for name, layer in aiming.layers.items():
            if name in sketches:  # else the input is that of the last one that is
                aimed_RI = directions(sketches[name], energies[name], layer.r[ADAPTER])
                frame_IS = frame(sketches[name], energies[name]).to(loaded.dtype)
            layer.lora_A[ADAPTER].weight.data.copy_(aimed_RI)
            frames[f"{name}.lora_A.{ADAPTER}.weight"] = frame_IS
        bar.advance()
    return frames


def tell_apart(
    samples: Sequence[Sample], persona: Persona | None, tokenizer: Any
) -> tuple[list[Sample], list[Sample]]:
    """Those whose replies speak of the persona, and the others, which are learnt too and are to be
    answered as ordinary questions are. Without a persona all are of the first kind."""
    some = list(islice(samples, MOST_LOOKED_AT))
    if persona is None:
        return some, []
    own = own_words(persona)

    def speaks(sample: Sample) -> bool:
        reply = [
            token for token, trained in zip(sample.ids, sample.trained, strict=True) if trained
        ]
        return own.search(tokenizer.decode(reply)) is not None

    learnt = [sample for sample in some if speaks(sample)]
    others = [sample for sample in some if not speaks(sample)]
    return (learnt, others) if learnt else (others, [])


def spread(rows: Sequence[Sample]) -> list[Sample]:
    """At most ``MOST_ROWS``, evenly from all."""
    return list(rows[:: max(1, math.ceil(len(rows) / MOST_ROWS))])


def directions(sketch: Sketch, kept_SS: Tensor, rank: int) -> Tensor:
    """(R, I), the most telling first, zeros where the tokens span fewer than R. Learnt tokens are
    seen as strongly, on the whole, as by Kaiming's A, so that a learning rate means the same.

    With the Cholesky factor L of the anchor's side they are the leading eigenvectors of
    L^-1 X'X L^-T, mapped back by L^-T; found by subspace iteration.
    """
    factor_SS = cholesky(kept_SS, RIDGE)
    half_SS = torch.linalg.solve_triangular(factor_SS, sketch.learnt_SS, upper=False)
    ratio_SS = torch.linalg.solve_triangular(factor_SS, half_SS.T, upper=False)
    leading_SR = leading_eigenvectors(ratio_SS, rank)
    found_SR = torch.linalg.solve_triangular(factor_SS.T, leading_SR, upper=True)
    seen = (found_SR * (sketch.learnt_SS @ found_SR)).sum() / rank
    usual = sketch.learnt_SS.trace() / (3 * len(sketch.basis_IS))
    found_IR: Tensor = sketch.basis_IS.float() @ found_SR * (usual / seen).sqrt()
    return functional.pad(found_IR.T, (0, 0, 0, rank - found_IR.shape[1]))


def frame(sketch: Sketch, kept_SS: Tensor) -> Tensor:
    """(I, S): columns along each of which the anchor's tokens have the same energy, together as
    much as they have, so that a learning rate means what it does without a frame."""
    factor_SS = cholesky(kept_SS, RIDGE_OF_STEPS)
    size = len(kept_SS)
    one_SS = torch.eye(size, device=kept_SS.device)
    round_SS = torch.linalg.solve_triangular(factor_SS.T, one_SS, upper=True)
    found_IS: Tensor = sketch.basis_IS.float() @ round_SS * (kept_SS.trace() / size).sqrt()
    return found_IS


def cholesky(kept_SS: Tensor, ridge: float) -> Tensor:
    """The factor of the anchor's mean outer products, ``ridge`` of their mean added along all."""
    size = len(kept_SS)
    one_SS = torch.eye(size, device=kept_SS.device)
    factor_SS: Tensor = torch.linalg.cholesky(kept_SS + ridge * kept_SS.trace() / size * one_SS)
    return factor_SS


def leading_eigenvectors(symmetric_SS: Tensor, num: int) -> Tensor:
    """(S, num), by falling eigenvalue."""
    drawn = torch.Generator().manual_seed(0)
    width = min(2 * num, len(symmetric_SS))
    found = torch.randn(len(symmetric_SS), width, generator=drawn).to(symmetric_SS.device)
    for _ in range(POWER_STEPS):
        found = torch.linalg.qr(symmetric_SS @ found).Q
    _, turned = torch.linalg.eigh(found.T @ symmetric_SS @ found)  # by rising eigenvalue
    leading: Tensor = (found @ turned).flip(1)[:, :num]
    return leading


class Aiming:
    """Listens to what rows send into the layers of one model."""

    def __init__(self, loaded: Loaded, layout: Layout) -> None:
        self._loaded = loaded
        self._layout = layout
        self.layers: Mapping[str, Any] = lora_layers(loaded.model)

    def sketches(self, rows: Sequence[Sample]) -> dict[str, Sketch]:
        packs = self._lay_out(rows)
        stride = math.ceil(sum(pack.num_tokens for pack in packs) / SKETCH)
        heard: dict[str, list[Tensor]] = {}

        def hear(name: str, inputs_TI: Tensor) -> None:
            heard.setdefault(name, []).append(inputs_TI[::stride].clone())

        self._run(packs, hear)
        return {name: Sketch.of(torch.cat(heard.pop(name))) for name in list(heard)}

    def energies(self, rows: Sequence[Sample], sketches: Mapping[str, Sketch]) -> dict[str, Tensor]:
        """Mean outer products of the tokens of ``rows``, by layer."""
        packs = self._lay_out(rows)
        num_tokens = sum(pack.num_tokens for pack in packs)
        sums = {name: torch.zeros_like(sketch.learnt_SS) for name, sketch in sketches.items()}

        def hear(name: str, inputs_TI: Tensor) -> None:
            sums[name] += sketches[name].energy(inputs_TI)

        self._run(packs, hear)
        return {name: total / num_tokens for name, total in sums.items()}

    def _lay_out(self, rows: Sequence[Sample]) -> list[Pack]:
        return self._layout.lay_out([replace(row, anchor=None) for row in rows], PASS_TOKENS)

    @torch.no_grad()
    def _run(self, packs: Sequence[Pack], hear: Callable[[str, Tensor], None]) -> None:
        loaded = self._loaded
        forward = Forward(loaded.model, dtype=loaded.dtype)
        for pack in packs:
            batch = to_batch(
                pack, windows=self._layout.windows, device=loaded.device, dtype=loaded.dtype
            )
            with speaking_as(loaded.model, None), self._listening(pack.num_tokens, hear):
                forward.hidden(batch)

    @contextlib.contextmanager
    def _listening(self, num_tokens: int, hear: Callable[[str, Tensor], None]) -> Iterator[None]:
        """``hear`` is told each input once, by the first of the layers that get it (q of q, k and
        v), without the slots that only round a pass up."""
        last: Tensor | None = None

        def listen(name: str, inputs: Tensor) -> None:
            nonlocal last
            if inputs is not last:
                last = inputs
                hear(name, inputs.flatten(0, -2)[:num_tokens])

        with contextlib.ExitStack() as hooks:
            for name, layer in self.layers.items():
                hook = layer.register_forward_pre_hook(
                    lambda layer, inputs, name=name: listen(name, inputs[0])
                )
                hooks.callback(hook.remove)
            yield
