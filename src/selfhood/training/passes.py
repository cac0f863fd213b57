"""From the samples of an update to the passes of this process, and to their tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from selfhood.data.encode import Sample
from selfhood.training.batch import BaseStates, Batch, to_batch
from selfhood.training.layout import Layout
from selfhood.training.schedule import Pack, for_nothing
from selfhood.training.shares import shares
from selfhood.training.world import World


class Passes:
    """How one process of a run computes what all of them have in hand."""

    def __init__(
        self,
        layout: Layout,
        world: World,
        *,
        device: torch.device,
        dtype: torch.dtype,
        is_in_step: bool,
    ) -> None:
        """``is_in_step``: whether all processes must make the same number of passes."""
        self.layout = layout
        self._world = world
        self._device = device
        self._dtype = dtype
        self._is_in_step = is_in_step

    def share(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """What this process computes of ``samples``."""
        return shares(samples, self._world.size)[self._world.rank]

    def of(self, samples: Sequence[Sample], tokens: int) -> list[Pack]:
        """This process's share in passes of at most so many tokens.

        Where weights come together pass by pass, all processes make as many passes, some of them
        for nothing.
        """
        packs = self.layout.lay_out(self.share(samples), tokens)
        if not self._is_in_step:
            return packs
        num_idle = self._world.largest(len(packs)) - len(packs)
        idle = for_nothing(self.layout.lay_out(samples[:1], tokens)[0])
        return [*packs, *num_idle * [idle]]

    def batch(self, pack: Pack, base_states: BaseStates | None = None) -> Batch:
        """``base_states`` knows what is to be kept; None keeps nothing."""
        return to_batch(
            pack,
            windows=self.layout.windows,
            device=self._device,
            dtype=self._dtype,
            base_states=base_states,
        )
