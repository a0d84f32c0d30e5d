"""What the harness adds to a cell, against a bare C program that does the same steps."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from support import cells_for

from bench.figure import Figure
from xdiag.engine.run import Engine
from xdiag.model import OutcomeKind, Target
from xdiag.runtimes.copies import copies

ROUNDS, PER_ROUND = 10, 10
CELL = "same-thread/none/replay"


def _bare(program: Path, target: Target) -> list[float]:
    done = subprocess.run(
        [str(program), target.runtime, str(PER_ROUND)],
        env={
            **os.environ,
            **target.environment,
            "LD_LIBRARY_PATH": ":".join(target.library_path),
        },
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(line) / 1e6 for line in done.stdout.split()]


def run(target: Target) -> list[Figure]:
    """Milliseconds per cell, one after the other, in alternating rounds after a warm-up."""
    (cell,) = cells_for(CELL)
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bare"
        source = Path(__file__).with_name("bare.c")
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", str(source), "-ldl", "-o",
             str(program)], check=True,
        )  # fmt: skip
        with Engine(target, copies(target)) as engine:
            list(engine.run([cell]))
            _bare(program, target)
            for _ in range(ROUNDS):
                bare += _bare(program, target)
                begun = time.perf_counter()
                for result in engine.run([cell] * PER_ROUND):
                    assert result.outcome.kind == OutcomeKind.OK, result.outcome
                    now = time.perf_counter()
                    ours.append((now - begun) * 1e3)
                    begun = now
    difference = statistics.median(ours) - statistics.median(bare)
    return [
        Figure("bare C program, fork and exec, per run", bare, "ms"),
        Figure("xdiag, one cell", ours, "ms"),
        Figure("what the harness adds (median - median)", [difference], "ms", aim="at most 5"),
    ]
