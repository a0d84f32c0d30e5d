"""How long the default matrix takes, as a user calls it, with and without the kernel cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figure import Figure
from xdiag.model import Target

RUNS = 5


def _run(target: Target, *options: str, cache: str | None = None) -> tuple[float, int]:
    environment = dict(os.environ)
    if cache is not None:
        environment["XDG_CACHE_HOME"] = cache
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "matrix", "--format", "json", "--runtime", target.runtime,
         *options],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    results = json.loads(done.stdout)["results"]
    return seconds, sum(result["outcome"]["kind"] != "n/a" for result in results)


def run(target: Target) -> list[Figure]:
    """Seconds of wall time, start of the interpreter included."""
    with_cache = [_run(target) for _ in range(RUNS)]
    with tempfile.TemporaryDirectory() as empty:
        Path(empty).chmod(0o755)
        cold = _run(target, cache=empty)
    without = _run(target, "--no-kernel-cache")
    cells = with_cache[0][1]
    return [
        Figure("cells run", [float(cells)], "", aim="at least 200"),
        Figure("default matrix, kernels cached", [s for s, _ in with_cache], "s", aim="under 20"),
        Figure("default matrix, empty cache", [cold[0]], "s", aim="under 20"),
        Figure("default matrix, every cell compiles its kernels", [without[0]], "s"),
    ]
