"""2,000 cells in one run: memory, descriptors and zombies of the parent."""

from __future__ import annotations

import psutil
from support import cells_for

from bench.figure import Figure
from xdiag.engine.run import Engine
from xdiag.model import Target
from xdiag.runtimes.copies import copies

CELLS = 2000


def run(target: Target) -> list[Figure]:
    """Growth between the 200th and the last cell, results not kept."""
    kinds = cells_for("same-thread/none/replay", "second-runtime/none/driver")
    me = psutil.Process()
    memory, descriptors, zombies = [], [], 0
    with Engine(target, copies(target), jobs=2) as engine:
        for number, _ in enumerate(engine.run(kinds * (CELLS // len(kinds)))):
            if number >= 200 and number % 50 == 0:
                family = [me, *me.children()]
                memory.append(sum(p.memory_info().rss for p in family) / (1 << 20))
                descriptors.append(float(sum(p.num_fds() for p in family)))
        for process in me.children(recursive=True):
            zombies += process.status() == psutil.STATUS_ZOMBIE
    zombies += len(me.children(recursive=True))
    return [
        Figure("memory of parent and warm parent", memory, "MiB", aim="flat"),
        Figure("memory, last minus first", [memory[-1] - memory[0]], "MiB", aim="about 0"),
        Figure("descriptors of both", descriptors, "", aim="flat"),
        Figure("zombies and processes left", [float(zombies)], "", aim="0"),
    ]
