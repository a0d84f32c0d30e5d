"""What the harness adds to a cell, against a bare C program that does the same steps."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace
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


def _cells(engine: Engine) -> list[float]:
    (cell,) = cells_for(CELL)
    times = []
    begun = time.perf_counter()
    for result in engine.run([cell] * PER_ROUND):
        assert result.outcome.kind == OutcomeKind.OK, result.outcome
        now = time.perf_counter()
        times.append((now - begun) * 1e3)
        begun = now
    return times


def _unprepared(target: Target) -> Target:
    """The harness without the head start that the warm parent gives: AMD's compiler, opened."""
    return replace(target, compiler="")


def run(target: Target) -> list[Figure]:
    """Milliseconds per cell, one after the other, in alternating rounds after a warm-up."""
    bare: list[list[float]] = []
    ours: list[list[float]] = []
    alone: list[list[float]] = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bare"
        source = Path(__file__).with_name("bare.c")
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", str(source), "-ldl", "-o",
             str(program)], check=True,
        )  # fmt: skip
        paths = copies(target)
        with Engine(target, paths) as usual, Engine(_unprepared(target), paths) as unprepared:
            for _ in range(ROUNDS + 1):
                bare.append(_bare(program, target))
                ours.append(_cells(usual))
                alone.append(_cells(unprepared))
    # The first round of each warms up.
    figures = [
        Figure(name, [ms for round_ in rounds[1:] for ms in round_], "ms")
        for name, rounds in (
            ("bare C program, fork and exec, per run", bare),
            ("xdiag, one cell", ours),
            ("xdiag, one cell that opens the compiler itself", alone),
        )
    ]
    medians = [statistics.median(figure.samples) for figure in figures]
    return [
        *figures,
        Figure("a cell above the bare program", [medians[1] - medians[0]], "ms", aim="at most 5"),
        Figure(
            "the same, compiler opened by the cell",
            [medians[2] - medians[0]],
            "ms",
            aim="at most 5",
        ),
    ]
