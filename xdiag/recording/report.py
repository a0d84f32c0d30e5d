"""A record's report: what ``xdiag explain --json`` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.model import SCHEMA_VERSION, Record
from xdiag.recording.diagnosis import Diagnosis  # noqa: TC001 - msgspec reads the annotations
from xdiag.recording.facts import Facts  # noqa: TC001
from xdiag.recording.provenance import Story  # noqa: TC001
from xdiag.recording.requests import Route, routes

if TYPE_CHECKING:
    from xdiag.recording.facts import Process
    from xdiag.recording.read import Recording


class Report(Record, frozen=True):
    """What a record says and what follows from it."""

    schema_version: int
    #: Of each process only the objects that are runtimes, asked for one, or called one.
    record: Facts
    diagnoses: tuple[Diagnosis, ...] = ()
    #: Who asked for which runtime, for each of ``record.processes``.
    routes: tuple[tuple[Route, ...], ...] = ()
    #: Of the handle that was asked for.
    story: Story | None = None

    @property
    def fault(self) -> bool:
        """Whether something is wrong."""
        return any(each.fault for each in self.diagnoses)


def report(
    recording: Recording, diagnoses: tuple[Diagnosis, ...], story: Story | None = None
) -> Report:
    """The report of a record."""
    facts = recording.facts
    callers = {(call.process, call.caller_path) for call in facts.failures}
    for each in diagnoses:
        steps = each.provenance.steps if each.provenance is not None else ()
        for call in [each.call, *(step.call for step in steps)]:
            if call is not None:
                callers.add((call.process, call.caller_path))
    processes = tuple(_pruned(process, callers) for process in facts.processes)
    return Report(
        schema_version=SCHEMA_VERSION,
        record=replace(facts, processes=processes),
        diagnoses=diagnoses,
        routes=tuple(map(routes, facts.processes)),
        story=story,
    )


def _pruned(process: Process, callers: set[tuple[int, str]]) -> Process:
    asked = {request.requester for request in process.requests}
    return replace(
        process,
        objects=tuple(
            each
            for each in process.objects
            if each.is_runtime or each.number in asked or (process.index, each.path) in callers
        ),
    )
