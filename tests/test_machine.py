"""What torch finds in the environment."""

from __future__ import annotations

from selfhood.machine import SETTINGS, settle


def test_the_settings_are_there_before_torch_is_imported() -> None:
    environment: dict[str, str] = {}
    settle(environment)
    assert environment == SETTINGS


def test_what_the_user_has_set_stays() -> None:
    environment = {"OMP_WAIT_POLICY": "active"}
    settle(environment)
    assert environment["OMP_WAIT_POLICY"] == "active"
