"""How long a look into a process of 10,000 mappings takes, and what else there is to compare."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from process.conftest import Opener, compile_program

from bench.figure import Figure
from xdiag.doctor.runtimes_in_process import inspect
from xdiag.model import Target
from xdiag.process.look import look
from xdiag.runtimes.copies import copies

if TYPE_CHECKING:
    from collections.abc import Callable

REGIONS, RUNS = 10_000, 30


def _timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1e3


def run(target: Target) -> list[Figure]:
    """Milliseconds of each in turn, of a process with two copies of the runtime in it."""
    paths = copies(target)
    environment = {
        **os.environ,
        **target.environment,
        "LD_LIBRARY_PATH": ":".join(target.library_path),
    }
    script = os.path.join(os.path.dirname(sys.executable), "xdiag")
    command = [script] if os.path.exists(script) else [sys.executable, "-m", "xdiag"]
    with tempfile.TemporaryDirectory() as folder:
        program = compile_program(Path(folder) / "opener")
        opener = Opener([str(program)], env=environment)
        try:
            opener.tell(f"regions {REGIONS}", f"open {paths.first}", f"open {paths.copy}")
            inspection = inspect(look(opener.pid))
            assert inspection.fault and inspection.process.mappings > REGIONS

            def quiet(*arguments: str) -> Callable[[], object]:
                return lambda: subprocess.run(
                    arguments, env=environment, stdout=subprocess.DEVNULL, check=False
                )

            acts: dict[str, Callable[[], object]] = {
                "reading the memory map alone": Path(f"/proc/{opener.pid}/maps").read_bytes,
                "ldd of the runtime": quiet("ldd", target.runtime),
                "python -c pass": quiet(sys.executable, "-c", "pass"),
                "a look into the process": lambda: inspect(look(opener.pid)),
                "xdiag inspect PID, the whole command": quiet(*command, "inspect", str(opener.pid)),
                "xdiag inspect PID --json": quiet(*command, "inspect", str(opener.pid), "--json"),
            }
            samples: dict[str, list[float]] = {name: [] for name in acts}
            for round_ in range(RUNS + 1):
                for name, act in acts.items():
                    took = _timed(act)
                    if round_:  # the first of each warms the page cache
                        samples[name].append(took)
        finally:
            opener.end()
    aims = {"a look into the process": "at most 100"}
    return [Figure(name, each, "ms", aim=aims.get(name, "")) for name, each in samples.items()]
