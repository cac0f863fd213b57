"""Settings that torch reads once, when it is imported."""

from __future__ import annotations

from collections.abc import MutableMapping

# Measured on two cores (docs/results/update.md). Spinning threads wait for one that the system has
# taken off its core for another program: an update then takes six times as long as with threads
# that sleep. Large pages spare two thirds of the page faults of fresh memory.
SETTINGS = {"OMP_WAIT_POLICY": "passive", "THP_MEM_ALLOC_ENABLE": "1"}


def settle(environment: MutableMapping[str, str]) -> None:
    """Put the settings where torch looks; what the user has set stays."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
