"""What a plan forecasts is what the run on the real starter model then takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.memory import CASES

pytestmark = [pytest.mark.journey, pytest.mark.slow]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_peak_is_within_15_percent_of_the_forecast(dtype: str) -> None:
    """A process of its own: the peak of this one is that of all tests before."""
    number = next(i for i, case in enumerate(CASES) if case.dtype == dtype and case.rows == 16)
    command = [sys.executable, "-m", "bench.memory", "--case", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["forecast"] == pytest.approx(found["measured"], rel=0.15)
