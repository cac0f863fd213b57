"""Forecast of a run's peak memory, and how much there is.

    program       the process as it stands, and what torch and the tracker will still take
    weights       of the model, in the dtype of the run
    training      weights that are trained, their gradients, AdamW's two moments and its frames
    activations   what autograd keeps of the largest pass, and its mask
    logits        of one chunk of positions

On a CPU the peak is that of the resident set; on a GPU it is the device's memory.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from selfhood.model.footprint import Footprint
from selfhood.training.loss import CHUNK

GB = 10**9

# Measured on the starter model (docs/results/memory.md): glibc leaves gaps between tensors that are
# kept and tensors that are not; torch's caching allocator on a GPU rounds up.
GAPS = {"cpu": 1.18, "cuda": 1.08}
STILL_TO_COME = 130 * 10**6  # bytes of libraries and buffers that a run loads after its plan

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Bytes at the peak of a run."""

    program: float
    weights: float
    training: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        return self.program + self.weights + self.training + self.activations + self.logits

    def __str__(self) -> str:
        parts = ("weights", "training", "activations", "logits", "program")
        listed = ", ".join(f"{part} {getattr(self, part) / GB:.1f}" for part in parts)
        return f"about {self.total / GB:.1f} GB: {listed}"


def forecast(
    footprint: Footprint, tokens: int, *, recomputes: bool, device: torch.device, frames: float = 0
) -> Forecast:
    """``tokens`` are those of the largest pass, ``frames`` the bytes of the optimizer's."""
    kept = footprint.recomputed(tokens) if recomputes else footprint.activations(tokens)
    return Forecast(
        program=resident() + STILL_TO_COME if device.type == "cpu" else 0,
        weights=footprint.frozen,
        training=4 * footprint.trained + frames,
        activations=GAPS[device.type] * kept,
        logits=footprint.logits * min(tokens, CHUNK),
    )


def free_memory(device: torch.device) -> float:
    """Bytes that this process may hold in all; infinity where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free)
    return resident() + min(available(Path("/proc/meminfo")), left_in_cgroup(CGROUP))


def resident() -> float:
    """Bytes that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096.0


def peak_resident() -> float:
    """The most bytes that this process has held. What getrusage calls so is not: it begins with
    what the process that started this one held."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024.0 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def available(meminfo: Path) -> float:
    """Bytes that the system can give without swapping."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return float("inf")
    values = dict(line.split(":", 1) for line in lines)
    return int(values["MemAvailable"].split()[0]) * 1024.0


def left_in_cgroup(folder: Path) -> float:
    """Bytes below the limit of a container, where there is one (version 2, then 1).

    Pages of files that nobody has used lately count as used there, and are given back on demand.
    """
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (folder / limit).read_text().strip()
            now = int((folder / used).read_text())
            stat = (folder / used).with_name("memory.stat").read_text()
        except OSError:
            continue
        if most == "max":
            return float("inf")
        counts = dict(line.split() for line in stat.splitlines())
        idle = int(counts.get("inactive_file") or counts.get("total_inactive_file") or 0)
        return float(int(most) - now + idle)
    return float("inf")
