"""What torch adds to a cell: imported once for all of them, against once in each."""

from __future__ import annotations

import subprocess
import sys
import time

from support import cells_for

from bench.figure import Figure
from xdiag.engine.run import Engine
from xdiag.model import Target
from xdiag.runtimes.copies import copies
from xdiag.runtimes.torch_here import folder

CELLS, IMPORTS = 20, 5
CELL = "torch-pool/none/torch"


def run(target: Target) -> list[Figure]:
    """Seconds of wall time; a torch that finds no GPU shows what forking it costs, and no more."""
    if not folder():
        print("torch_cost: skipped, torch is not installed here", file=sys.stderr)
        return []
    imports = []
    for _ in range(IMPORTS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        imports.append(time.perf_counter() - begun)
    cells, kinds = [], set()
    with Engine(target, copies(target)) as engine:
        begun = time.perf_counter()
        for result in engine.run(cells_for(*[CELL] * CELLS)):
            cells.append(time.perf_counter() - begun)
            kinds.add(result.outcome.kind.value)
            begun = time.perf_counter()
    return [
        Figure('python -c "import torch"', imports, "s"),
        Figure("the first cell of torch's", cells[:1], "s"),
        Figure(f"each of the others ({' and '.join(sorted(kinds))})", cells[1:], "s",
               aim="far below the import"),
    ]  # fmt: skip
