"""A run from plan to report.

Cells are planned, the engine runs each in a child of its own, results are kept in a journal as they
come, the verdict weighs them, and a Report holds it all.
"""

from __future__ import annotations

import contextlib
import datetime
import time
from typing import TYPE_CHECKING

import msgspec

from xdiag import __version__, hypotheses
from xdiag.api.telling import telling
from xdiag.engine.run import Engine
from xdiag.model import FAULTS, SCHEMA_VERSION, OutcomeKind, Report
from xdiag.patterns import told_on
from xdiag.runtimes import torch_here
from xdiag.runtimes.copies import copies
from xdiag.runtimes.host import host
from xdiag.runtimes.xsched import note
from xdiag.torch_consumer import RUNTIME, brought_another
from xdiag.verdict import weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Cell, Result, Target


def run(
    cells: Sequence[Cell],
    target: Target,
    *,
    command: str,
    jobs: int = 1,
    known: Sequence[Result] = (),
    paths: Paths | None = None,
    xsched: XSchedFiles | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Run the cells that are not known yet and report on all of them, in the order planned.

    ``paths`` are the runtime's files, where they are not the target's and a copy of it; ``xsched``
    those of XSched, for the consumers that call it.
    ``on_result`` is called for each new result.  Ctrl-C ends the run early; the report then holds
    what was finished, and its ``planned`` says how much there should have been.
    """
    started, clock = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    results = {result.cell.id: result for result in known}
    paths = paths or copies(target)
    if xsched is not None:
        paths = msgspec.structs.replace(paths, xsched=xsched)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Engine(target, paths, jobs=jobs) as engine,
    ):
        for result in engine.run(cell for cell in cells if cell.id not in results):
            results[result.cell.id] = result
            if on_result is not None:
                on_result(result)
    if xsched is not None and any(result.outcome.libraries for result in results.values()):
        target = msgspec.structs.replace(target, notes=(*target.notes, note(xsched)))
    if any(RUNTIME in result.outcome.runtimes for result in results.values()):
        another = next(filter(brought_another, results.values()), None)
        told = [torch_here.took_part(), torch_here.brought(another) if another else ""]
        notes = (*target.notes, *filter(None, told))
        target = msgspec.structs.replace(target, notes=notes)
    ordered = tuple(results[cell.id] for cell in cells if cell.id in results)
    return Report(
        schema_version=SCHEMA_VERSION,
        xdiag=__version__,
        command=command,
        target=target,
        host=host(),
        results=ordered,
        verdicts=weigh(
            ordered,
            hypotheses.of(target.platform),
            told_on(target.platform),
            target.platform,
            telling(target.platform, target.version),
        ),
        planned=len(cells),
        seconds=time.monotonic() - clock,
        started=started.isoformat(timespec="seconds"),
    )


def told_nothing(reports: Iterable[Report]) -> bool:
    """Whether cells that were to be run could not be run here, and no other was."""
    kinds = {result.outcome.kind for report in reports for result in report.results}
    kinds.discard(OutcomeKind.NOT_APPLICABLE)
    return bool(kinds) and kinds <= {OutcomeKind.SKIPPED, OutcomeKind.UNSUPPORTED}


def faulty(report: Report) -> bool:
    """Whether a story that uses the library soundly failed: this machine is at fault."""
    sound = {pattern.id for pattern in told_on(report.target.platform) if pattern.sound}
    return any(
        result.outcome.kind in FAULTS
        and result.cell.pattern in sound
        and result.cell.fix == "none"
        and not brought_another(result)
        for result in report.results
    )
