"""Who can reach a server, and that strangers need a key."""

from __future__ import annotations

import ipaddress

from selfhood.errors import FlagError

OWN_NAMES = ("localhost",)


def is_own_machine(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host.lower() in OWN_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, key: str | None) -> None:
    """Raise where anybody could ask."""
    if key is None and not is_own_machine(host):
        raise FlagError(
            f"{host} can be reached from elsewhere",
            where="--host",
            hint="give a key, in SELFHOOD_API_KEY",
        )
