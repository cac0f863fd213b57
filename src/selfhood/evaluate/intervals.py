"""95% intervals of what an evaluation counts. Nothing here is random between two calls.

    wilson          a share of replies                              good of num
    paired_shares   the change of a share, the same items twice     better, worse of num
    ratio           a mean per token, where texts are what varies   (sum, tokens) of each text

Sources: Wilson 1927; Agresti and Min 2005 (Wald's interval of a paired difference after half a
reply is added to each cell); Efron 1979 (the bootstrap).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

Z = 1.959964
NUM_RESAMPLES = 1000
Interval = tuple[float, float]


def wilson(good: int, num: int) -> Interval:
    """Of ``good / num``; stays within 0..1 and is of use at both ends."""
    if not num:
        return 0.0, 1.0
    share, spread = good / num, Z * Z / num
    centre = (share + spread / 2) / (1 + spread)
    half = Z * math.sqrt(share * (1 - share) / num + spread / num / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_shares(better: int, worse: int, num: int) -> Interval:
    """Of ``(better - worse) / num``: items that only the second of two sittings got right, and
    those that only the first did."""
    up, down, total = better + 0.5, worse + 0.5, num + 2
    change = (up - down) / total
    half = Z * math.sqrt(max(0.0, up + down - (up - down) ** 2 / total)) / total
    return max(-1.0, change - half), min(1.0, change + half)


def ratio(parts: Sequence[tuple[float, float]]) -> Interval:
    """Of the summed firsts over the summed seconds; each pair is drawn, or not, as a whole."""
    draw = random.Random(0)
    values = []
    for _ in range(NUM_RESAMPLES):
        sample = draw.choices(parts, k=len(parts))
        values.append(sum(first for first, _ in sample) / sum(second for _, second in sample))
    values.sort()
    at = round(0.025 * NUM_RESAMPLES)
    return values[at], values[-1 - at]
