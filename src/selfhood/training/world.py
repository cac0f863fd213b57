"""The processes that train one model together, each on a device of its own.

Every process lays out the same updates and computes its share of each: the gradient of its nll,
divided by the trained tokens of the whole update. The sum over the processes is the gradient that
one process would have computed; from there on all do the same.

    update ─┬─ share 0 ── gradient ─┐
            └─ share 1 ── gradient ─┴─ sum ── clip, step ── the same weights everywhere

A world of one asks nobody and costs nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfhood.errors import InputError, PeerError, SelfhoodError
from selfhood.model.load import best_device
from selfhood.processes import Place

BUCKET = 32 * 2**20  # values summed in one message: 128 MiB of float32


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the processes say to each other. All of them must call the same verbs in one order."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None
    """What messages travel from; None: the CPU."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def sum_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Every weight's gradient becomes the sum over the processes; none counts as zeros."""
        if self.size == 1:
            return
        for bucket in _buckets([_gradient(weight) for weight in weights]):
            self._sum_together(bucket)

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """Each number becomes the sum over the processes."""
        if self.size == 1:
            return numbers
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        with _together():
            dist.all_reduce(summed)
        return tuple(summed.tolist())

    def largest(self, number: int) -> int:
        """The largest of all processes' numbers."""
        if self.size == 1:
            return number
        largest = torch.tensor(number, device=self.device)
        with _together():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def collect(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, by rank; they have one shape."""
        if self.size == 1:
            return [tensor]
        mine = tensor.to(self.device)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        with _together():
            dist.all_gather(found, mine)
        return [each.to(tensor.device) for each in found]

    def agree(self, text: str) -> str:
        """The first process's text."""
        if self.size == 1:
            return text
        data = text.encode()
        length = torch.tensor([len(data)], device=self.device)
        with _together():
            dist.broadcast(length, src=0)
        letters = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.is_first:
            letters.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        with _together():
            dist.broadcast(letters, src=0)
        return bytes(letters.tolist()).decode()

    @torch.no_grad()
    def _sum_together(self, grads: Sequence[Tensor]) -> None:
        sizes = [grad.numel() for grad in grads]
        flat = torch.cat([grad.flatten() for grad in grads])
        with _together():
            dist.all_reduce(flat)
        for grad, summed in zip(grads, torch.split(flat, sizes), strict=True):
            grad.copy_(summed.view_as(grad))


ALONE = World()


@contextlib.contextmanager
def join_world() -> Iterator[World]:
    """The world that the launcher's variables describe; ``ALONE`` where nothing was launched."""
    place = Place.from_environment(os.environ)
    if place.size == 1:
        yield ALONE
        return
    device = best_device()
    if device.type == "cuda":
        _check_device(place)
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise SelfhoodError(f"the processes of this run do not meet: {error}") from error
    yield World(rank=place.rank, size=place.size, device=device)
    dist.destroy_process_group()  # not after a failure: it would wait for those that are gone


def _check_device(place: Place) -> None:
    if place.local_rank >= torch.cuda.device_count():
        raise InputError(
            f"{place.local_size} processes, but {torch.cuda.device_count()} GPUs to be seen",
            where="NPROC_PER_NODE",
            hint="each process needs a GPU of its own; see CUDA_VISIBLE_DEVICES",
        )


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Waiting for the others fails where one of them has ended."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError("another process of this run has ended") from error


def _gradient(weight: nn.Parameter) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def _buckets(grads: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype, up to ``BUCKET`` values together."""
    bucket: list[Tensor] = []
    for grad in grads:
        size = sum(each.numel() for each in bucket)
        if bucket and (grad.dtype != bucket[0].dtype or size + grad.numel() > BUCKET):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket
