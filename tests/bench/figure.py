"""One measured figure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A name, its samples and their unit; ``aim`` is what it was asked to be."""

    name: str
    samples: list[float]
    unit: str
    aim: str = ""

    def row(self) -> list[str]:
        """Name, median, range, number of samples, aim."""
        low, high = min(self.samples), max(self.samples)
        spread = f"{low:.2f} to {high:.2f}" if len(self.samples) > 1 else ""
        median = f"{statistics.median(self.samples):.2f} {self.unit}"
        return [self.name, median, spread, str(len(self.samples)), self.aim]
