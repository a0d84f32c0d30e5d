"""When requests arrive: decided beforehand, whatever the worker makes of them.

Latency counts from the scheduled arrival.  A worker that is late does not push back the requests
behind it, which would hide the queue from the figures ("coordinated omission").
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdiag.workload.model import Settings


def schedule(settings: Settings, repeat: int) -> list[float]:
    """Seconds after the start at which requests arrive, ascending, below ``settings.seconds``.

    ``uniform``: one every 1/rate seconds, the first after half of that, so that even the last has
    time within the run.  ``poisson``: independent of each other, another sample in every
    repeat and the same one in every arrangement of it.
    """
    if settings.arrivals == "uniform":
        count = max(1, round(settings.seconds * settings.rate))
        due = ((place + 0.5) / settings.rate for place in range(count))
        return [each for each in due if each < settings.seconds] or [settings.seconds / 2]
    # Of two numbers, mixed: seed 1, repeat 2 is no relative of seed 2, repeat 1.
    sample = random.Random(f"{settings.seed} {repeat}")
    arrivals = []
    now = sample.expovariate(settings.rate)
    while now < settings.seconds:
        arrivals.append(now)
        now += sample.expovariate(settings.rate)
    return arrivals or [settings.seconds / 2]
