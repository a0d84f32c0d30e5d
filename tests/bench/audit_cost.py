"""What the audit library costs: per call and at start; beside AMD's own log, and ltrace."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figure import Figure
from xdiag.launch import audit_library
from xdiag.model import Target
from xdiag.recording import create

#: Alternating runs of each kind; rounds and calls in each; fewer where a call takes long.
RUNS, ROUNDS, CALLS, SLOW_CALLS, SLOWEST_CALLS = 15, 9, 200_000, 20_000, 2_000
STARTS, WHOLE_STARTS = 100, 15


def _built(folder: Path, target: Target) -> Path:
    program = folder / "query"
    source = Path(__file__).with_name("query.c")
    subprocess.run(
        ["cc", "-O2", "-Wall", "-Wextra", "-Werror", str(source), target.runtime,
         f"-Wl,-rpath,{os.path.dirname(target.runtime)}",
         f"-Wl,-rpath-link,{':'.join(target.library_path)}",
         "-Wl,--allow-shlib-undefined", "-o", str(program)], check=True,
    )  # fmt: skip
    return program


def _per_call(command: list[str], environ: dict[str, str], calls: int) -> float:
    """Median nanoseconds per call of one process."""
    done = subprocess.run(
        [*command, str(ROUNDS), str(calls)], env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    return statistics.median(map(float, done.stdout.split()))


def _start(environ: dict[str, str], *before: str) -> float:
    """Milliseconds of a process that does nothing, started by ``before``."""
    begun = time.perf_counter()
    subprocess.run([*before, "/bin/true"], env=environ, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1e3


def run(target: Target) -> list[Figure]:
    """Nanoseconds per hipStreamQuery on an idle stream, milliseconds per start; in turn."""
    usual = {
        **os.environ, **target.environment, "LD_LIBRARY_PATH": ":".join(target.library_path),
    }  # fmt: skip
    library = audit_library.path()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = [str(_built(folder, target))]
        record, log = str(folder / "record"), str(folder / "log")
        create.create(record, command=program)
        unify = {"LD_AUDIT": library, "XDIAG_UNIFY": "libamdhip64"}
        recorded = {"LD_AUDIT": library, "XDIAG_RECORD": record}
        kinds: dict[str, tuple[list[str], dict[str, str], int]] = {
            "bare": (program, {}, CALLS),
            "unify": (program, unify, CALLS),
            "recorded": (program, recorded, CALLS),
            "unify and recorded": (program, {**unify, **recorded}, CALLS),
            "AMD_LOG_LEVEL=3 to a file": (
                program, {"AMD_LOG_LEVEL": "3", "AMD_LOG_LEVEL_FILE": log}, SLOW_CALLS,
            ),
        }  # fmt: skip
        if ltrace := shutil.which("ltrace"):
            command = [ltrace, "-o", str(folder / "ltrace"), "-e", "hipStreamQuery", *program]
            kinds["ltrace"] = (command, {}, SLOWEST_CALLS)
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(RUNS):
            for kind, (command, extra, calls) in kinds.items():
                times[kind].append(_per_call(command, {**usual, **extra}, calls))
                Path(log).unlink(missing_ok=True)
        starts: dict[str, list[float]] = {"bare": [], "unify": [], "recorded": []}
        for _ in range(STARTS):
            for kind, extra in (("bare", {}), ("unify", unify), ("recorded", recorded)):
                starts[kind].append(_start({**usual, **extra}))
    whole: dict[str, list[float]] = {"none": [], "unify": []}
    for _ in range(WHOLE_STARTS):
        for repair, samples in whole.items():
            command = [sys.executable, "-m", "xdiag", "run", "--repair", repair, "--"]
            samples.append(_start(usual, *command))
    return [
        *_calls(times),
        *_starts(starts),
        *(Figure(f"xdiag run --repair {kind} -- true", ms, "ms") for kind, ms in whole.items()),
    ]


def _calls(times: dict[str, list[float]]) -> list[Figure]:
    median = {kind: statistics.median(samples) for kind, samples in times.items()}
    cost = max(median["recorded"] - median["bare"], 0.1)
    figures = [Figure(f"hipStreamQuery, {kind}", each, "ns") for kind, each in times.items()]
    figures += [
        Figure("recording a call", [cost], "ns", aim="at most 60"),
        # Of the two in each round, which ran one after the other.
        Figure(
            "unify / bare",
            [one / other for one, other in zip(times["unify"], times["bare"], strict=True)],
            "",
            aim="1.00 within noise",
        ),
    ]
    for kind, aim in (("AMD_LOG_LEVEL=3 to a file", 20), ("ltrace", 100)):
        if kind in median:
            ratio = (median[kind] - median["bare"]) / cost
            figures.append(Figure(f"{kind} costs, / recording", [ratio], "", aim=f"over {aim}"))
        else:
            figures.append(Figure(f"{kind}: skipped, it is not installed", [0.0], ""))
    return figures


def _starts(starts: dict[str, list[float]]) -> list[Figure]:
    bare = statistics.median(starts["bare"])
    figures = [Figure(f"start of /bin/true, {kind}", each, "ms") for kind, each in starts.items()]
    for kind in ("unify", "recorded"):
        more = statistics.median(starts[kind]) - bare
        figures.append(Figure(f"{kind}, at start", [more], "ms", aim="at most 15"))
    return figures
