"""Settings that torch reads once, when it is imported."""

from __future__ import annotations

from collections.abc import MutableMapping

# Spinning threads burn their cores while they wait for one that the system has taken off its core
# for another program: on a busy machine an update then takes several times as long as with threads
# that sleep. Large pages spare most page faults of fresh memory.
SETTINGS = {"OMP_WAIT_POLICY": "passive", "THP_MEM_ALLOC_ENABLE": "1"}


def settle(environment: MutableMapping[str, str]) -> None:
    """Put the settings where torch looks; what the user has set stays."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
