"""Four versions of the runtime: fetching each, room on disk, and one matrix over all of them."""

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
from xdiag.runtimes import entries

VERSIONS = ("5.2", "5.7", "6.4", "7.2")
RUNS = 3


def _xdiag(*arguments: str, cache: str | None = None) -> float:
    environment = dict(os.environ) if cache is None else {**os.environ, "XDG_CACHE_HOME": cache}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", *arguments], env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"xdiag {' '.join(arguments)}: {done.stderr}")
    return time.perf_counter() - begun


def run(target: Target) -> list[Figure]:
    """Seconds of wall time, start of the interpreter included; the target is none of these."""
    del target
    figures = []
    for version in VERSIONS[1:]:
        with tempfile.TemporaryDirectory() as empty:
            seconds = _xdiag("runtimes", "add", version, cache=empty)
        figures.append(Figure(f"HIP {version} fetched from the network", [seconds], "s",
                              aim="under 90"))  # fmt: skip
    _xdiag("runtimes", "add", *VERSIONS)
    for version in VERSIONS:
        entry = entries.by_version(version)
        assert entry is not None
        size = sum(path.lstat().st_size for path in Path(entry.path).rglob("*")) / 1e6
        figures.append(Figure(f"HIP {entry.hip} on disk", [size], "MB", aim="under 350"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "matrix.json"
        options = [word for version in VERSIONS for word in ("--runtime", version)]
        times = [
            _xdiag("matrix", "--agent", "software", *options, "-o", str(path)) for _ in range(RUNS)
        ]
        rows = json.loads(path.read_text())["rows"]
    cells = sum(
        len(seen["runs"])
        for row in rows
        for seen in row["seen"]
        if seen["result"]["outcome"]["kind"] != "n/a"
    )
    return [
        *figures,
        Figure("cells run over four versions", [float(cells)], "", aim="at least 600"),
        Figure("matrix over four versions", times, "s", aim="under 60"),
    ]
