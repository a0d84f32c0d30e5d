"""From ticks to seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag.recording.layout import ClockKind

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Ticks per nanosecond of time stamp counters that there are; other pairs are damaged.
_SLOWEST, _FASTEST = 0.05, 20.0
#: Where a record is too short to tell.
_ASSUMED = 2.5
#: Pairs this close in time (nanoseconds) say little of the rate: reading both takes up to 1 µs.
_SHORTEST = 100_000


@dataclass(frozen=True)
class Clock:
    """One line through pairs of ticks and nanoseconds: the counter is one for all processors."""

    ticks: int
    nanoseconds: int
    #: Ticks per nanosecond.
    rate: float
    #: Nanoseconds of CLOCK_MONOTONIC at time 0.
    zero: int
    #: Whether the rate is assumed, so that times are rough.
    rough: bool = False

    def seconds(self, ticks: int) -> float:
        """Seconds since the run began."""
        return (self.nanoseconds - self.zero + (ticks - self.ticks) / self.rate) / 1e9


def clock_of(kind: int, pairs: Sequence[tuple[int, int]], zero: int | None) -> Clock:
    """The clock of a record, from pairs of (ticks, nanoseconds) read together.

    ``zero`` is when the run began, in nanoseconds; without it, at the first pair.
    """
    if not pairs:
        return Clock(0, 0, 1.0 if kind == ClockKind.NANOSECONDS else _ASSUMED, 0, rough=True)
    first = min(pairs, key=lambda pair: pair[1])
    begun = first[1] if zero is None else zero
    if kind == ClockKind.NANOSECONDS:
        return Clock(0, 0, 1.0, begun)
    # The widest span has the smallest error, and leaves least to be extrapolated.
    last = max(pairs, key=lambda pair: pair[1])
    span = last[1] - first[1]
    if span >= _SHORTEST:
        rate = (last[0] - first[0]) / span
        if _SLOWEST <= rate <= _FASTEST:
            return Clock(first[0], first[1], rate, begun)
    return Clock(first[0], first[1], _ASSUMED, begun, rough=True)
