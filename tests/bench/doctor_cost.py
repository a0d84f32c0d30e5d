"""What a default ``xdiag doctor`` takes on an environment of 300 packages, start included."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from discover.environments import grow

from bench.figure import Figure

if TYPE_CHECKING:
    from xdiag.model import Target

ROUNDS = 9
#: Interpreters that may have torch, for the peer that users know the patience of.
_MAYBE_WITH_TORCH = (os.environ.get("XDIAG_BENCH_PYTHON", ""), sys.executable, "/usr/bin/python3")


def _timed(command: list[str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return (time.perf_counter() - begun) * 1e3


def _with_torch() -> str:
    """An interpreter that has torch; empty where there is none."""
    for python in filter(None, _MAYBE_WITH_TORCH):
        look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
        if os.path.exists(python) and not subprocess.run([python, "-c", look]).returncode:
            return python
    return ""


def run(target: Target) -> list[Figure]:
    """Milliseconds of each command in turn, after a round that warms the page cache."""
    del target
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        (site,) = (venv / "lib").glob("python*/site-packages")
        library = next(Path("/usr/lib").rglob("libz.so.1.*"), None)
        files = grow(site, library=library)
        python = str(venv / "bin" / "python")
        commands = {
            f"xdiag doctor, 300 packages, {files} files": [
                sys.executable, "-m", "xdiag", "doctor", "--python", python, "--json",
            ],
            "ldd of its interpreter": ["ldd", os.path.realpath(python)],
        }  # fmt: skip
        if other := _with_torch():
            commands['python -c "import torch"'] = [other, "-c", "import torch"]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(ROUNDS + 1):
            for name, command in commands.items():
                took = _timed(command)
                if round_:
                    times[name].append(took)
    aims = ("under 1500", "", "")
    figures = [
        Figure(name, each, "ms", aim=aim)
        for (name, each), aim in zip(times.items(), aims, strict=False)
    ]
    if len(figures) == 3:
        ratio = statistics.median(figures[0].samples) / statistics.median(figures[2].samples)
        figures.append(Figure("doctor against importing torch", [ratio], ""))
    return figures
