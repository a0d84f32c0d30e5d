"""Percentiles of a run, and intervals over runs.

Latencies within a run depend on each other (one that queues delays the next), so that an interval
from them would be too narrow.  A run gives one value; the interval is Student's over the runs,
which a bootstrap of a handful of values would not be.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from xdiag.workload.model import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Of intervals, two-sided.
CONFIDENCE = 0.95


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile by linear interpolation between the two nearest ranks, as numpy has it.

    Raises ValueError without values, or for a ``percent`` outside of 0 to 100.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    if not 0 <= percent <= 100:
        raise ValueError(f"percentile {percent}")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean with its interval; without interval for one value, None for none."""
    if not values:
        return None
    centre = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(centre)
    half = quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(centre, centre - half, centre + half)


def ratio(pairs: Sequence[tuple[float, float]]) -> Estimate | None:
    """The geometric mean of a / b over runs that belong together, with its interval.

    None without pairs, or where a value is not positive.
    """
    if not pairs or any(a <= 0 or b <= 0 for a, b in pairs):
        return None
    logs = mean([math.log(a / b) for a, b in pairs])
    assert logs is not None
    if logs.low is None or logs.high is None:
        return Estimate(math.exp(logs.value))
    return Estimate(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high))


def quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """How many standard errors an interval reaches to each side, with ``freedom`` + 1 values.

    Student's distribution, inverted by bisection.  Raises ValueError for less than one degree.
    """
    if freedom < 1:
        raise ValueError(f"{freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if _within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return high


def _within(t: float, freedom: int) -> float:
    """Probability of -t to t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    if odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total
