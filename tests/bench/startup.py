"""How long ``xdiag --help`` takes, against importing click alone."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from bench.figure import Figure
from xdiag.model import Target

RUNS = 30


def _timed(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1e3


def run(target: Target) -> list[Figure]:
    """Milliseconds of both in turn, and the ratio of the medians."""
    del target
    script = os.path.join(os.path.dirname(sys.executable), "xdiag")
    ours_command = [script] if os.path.exists(script) else [sys.executable, "-m", "xdiag"]
    ours, click = [], []
    for round_ in range(RUNS + 1):
        one = _timed([*ours_command, "--help"])
        other = _timed([sys.executable, "-c", "import click"])
        if round_:  # the first of each warms the page cache
            ours.append(one)
            click.append(other)
    ratio = statistics.median(ours) / statistics.median(click)
    return [
        Figure('python -c "import click"', click, "ms"),
        Figure("xdiag --help", ours, "ms"),
        Figure("ratio of the medians", [ratio], "", aim="at most 2.5"),
    ]
