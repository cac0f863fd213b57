"""What every test gets."""

from __future__ import annotations

import functools
import os
import sys

import pytest

from selfhood.machine import settle

settle(os.environ)  # as the console script does, before anything imports torch


def pytest_runtest_setup(item: pytest.Item) -> None:
    """One thread for tiny models: two that share a matrix of 64 columns wait for each other, 7
    times longer on a busy machine. Journeys use the real model and keep all threads."""
    if "torch" in sys.modules:
        everything = all_threads()
        set_threads(everything if item.get_closest_marker("journey") else 1)


@functools.cache
def all_threads() -> int:
    import torch

    return torch.get_num_threads()


def set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)
