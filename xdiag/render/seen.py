"""What a result says, read off its records: what failed, was in flight, was loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdiag import called, platforms
from xdiag.model import OutcomeKind
from xdiag.platforms.hip import NO_DEVICE as NO_DEVICE
from xdiag.using import CONTEXTS
from xdiag.xsched_errors import left_for_context

if TYPE_CHECKING:
    from xdiag.model import Identity, Outcome, Result, StepRecord, Target

#: Ends that the process did not choose to report.
VIOLENT = (OutcomeKind.CRASH, OutcomeKind.EXIT, OutcomeKind.HANG)


def failing_step(result: Result) -> int | None:
    """The step whose failure the outcome is about."""
    outcome = result.outcome
    return outcome.step if outcome.step is not None else outcome.died_at


def failing_phase(result: Result) -> str:
    """The phase in which the cell failed; empty if no step did."""
    step = failing_step(result)
    if step is None or not 0 <= step < len(result.cell.steps):
        return ""
    return result.cell.steps[step].phase


def failing_record(result: Result) -> StepRecord | None:
    """The record of the first failing step; of two actors, the one that the outcome tells of."""
    outcome = result.outcome
    records = [record for record in outcome.trace if record.step == outcome.step]
    told = [record for record in records if record.code == outcome.code]
    return next(iter(told or records), None)


def record_in_flight(result: Result) -> StepRecord | None:
    """The record of the call in which the process died or hung."""
    died_at = result.outcome.died_at
    if died_at is None:
        return None
    records = [record for record in result.outcome.trace if record.step == died_at]
    unfinished = [record for record in records if record.state == "unfinished"]
    return next(iter(unfinished or records), None)


def call_in_flight(result: Result) -> str:
    """The call in which the process died or hung; empty if there is none."""
    record = record_in_flight(result)
    return record.call if record is not None else ""


def said_by_xsched(result: Result) -> bool:
    """Whether XSched ended the process, and said which error a call had returned; maybe which."""
    record = record_in_flight(result)
    if record is None or record.code is not None or result.outcome.code is None:
        return False
    by_it = called.is_xsched(result.cell.steps[record.step])
    return result.outcome.step == record.step and (by_it or result.outcome.call != record.call)


def refused(result: Result) -> bool:
    """Whether the use returned what this platform says of a handle that is no live stream."""
    refused = result.outcome.code in platforms.get(result.cell.platform).refusals
    return (refused or contexts_differ(result)) and failing_phase(result) == "use"


def contexts_differ(result: Result) -> bool:
    """Whether the cell ended at the comparison at which XSched's CUDA queue leaves.

    A replay fails there; XSched itself ends the process, and says so.
    """
    outcome, record = result.outcome, record_in_flight(result)
    if values_differ(result):
        return result.cell.steps[outcome.step or 0].args == CONTEXTS
    if record is None or outcome.kind not in VIOLENT:
        return False
    return left_for_context(outcome.call, outcome.code, record.call)


def values_differ(result: Result) -> bool:
    """Whether the cell ended where two values were to be one."""
    outcome = result.outcome
    return outcome.kind is OutcomeKind.ERROR and outcome.code is None and outcome.call == "equal"


def copies(outcome: Outcome) -> list[list[tuple[str, Identity]]]:
    """The runtimes of a cell, those that are one loaded copy together, in order of loading."""
    groups: dict[tuple[int, int, int], list[tuple[str, Identity]]] = {}
    for name, identity in outcome.runtimes.items():
        copy = (identity.device, identity.inode, identity.namespace)
        groups.setdefault(copy, []).append((name, identity))
    return list(groups.values())


def hip_version(target: Target) -> tuple[int, int] | None:
    """Major and minor HIP version; None on another platform or where it is not known."""
    match = re.search(r"([0-9]+)\.([0-9]+)", target.version)
    if target.platform != "hip" or match is None:
        return None
    return int(match[1]), int(match[2])
