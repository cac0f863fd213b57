"""What is settled before torch is imported: how it uses the machine, and Python's collector."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from selfhood.processes import Place

# Spinning threads burn their cores while they wait for one that the system has taken off its core
# for another program: on a busy machine an update then takes several times as long as with threads
# that sleep. Large pages spare most page faults of fresh memory.
SETTINGS = {"OMP_WAIT_POLICY": "passive", "THP_MEM_ALLOC_ENABLE": "1"}


def settle(environment: MutableMapping[str, str]) -> None:
    """Put the settings where torch looks; what the user has set stays."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
    num_processes = Place.from_environment(environment).local_size
    # torchrun gives each process a single thread, however many cores there are.
    if num_processes > 1 and environment.get("OMP_NUM_THREADS", "1") == "1":
        environment["OMP_NUM_THREADS"] = str(max(num_cores() // num_processes, 1))


@contextmanager
def without_collecting() -> Iterator[None]:
    """Within the block nobody looks for garbage, and what it leaves is never looked through again:
    importing torch and transformers makes a million objects that stay to the end, and a fifth of
    the time goes into searching them in vain."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
