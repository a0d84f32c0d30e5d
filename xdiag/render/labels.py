"""From an outcome to a short label and the name of a style.

The only place that does so: every format shows the same label for the same outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.render import seen
from xdiag.render.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.findings import Finding
    from xdiag.model import Outcome, Result, Target

#: What a style means.  A format has its own table from these to colours or classes.
STYLES = {
    "ok": "nothing failed",
    "refused": "the handle was refused",
    "error": "a call returned another error",
    "fault": "the process crashed, exited or hung",
    "setup": "it failed before the stream was used",
    "absent": "nothing was asked",
    "pass": "looked at, and nothing wrong",
    "warn": "it takes part in breaking things",
    "fail": "a fault",
    "skip": "not looked at",
    "err": "a check could not be carried out",
}


@dataclass(frozen=True)
class Label:
    """What stands in a cell of the matrix, and its style: a key of ``STYLES``."""

    text: str
    style: str


#: The pattern in which a second copy crashes by itself in some programs; its note says in which.
_MAY_NOT_START = "second-runtime-deepbind"

#: For a cell that has no result: the run was interrupted, or the cell was not planned.
NO_RESULT = Label("?", "absent")

_ABSENT = {
    OutcomeKind.SKIPPED: "skipped",
    OutcomeKind.UNSUPPORTED: "no call",
    OutcomeKind.NOT_APPLICABLE: "-",
}


def finding_label(finding: Finding) -> Label:
    """The label of a finding."""
    return Label(finding.status.value, finding.status.value.lower())


def label(result: Result) -> Label:
    """The label of a result's cell."""
    outcome = result.outcome
    if outcome.kind is OutcomeKind.OK:
        return Label("ok", "ok")
    if outcome.kind in _ABSENT:
        return Label(_ABSENT[outcome.kind], "absent")
    parts = [_end(outcome)] if outcome.kind in seen.VIOLENT else []
    if outcome.code is not None:
        parts.insert(0, str(outcome.code))
    elif parts and seen.contexts_differ(result):
        parts.insert(0, "differ")
    differ = "differ" if seen.values_differ(result) else "failed"
    text = printable("+".join(parts)) or differ
    phase = seen.failing_phase(result)
    if phase in ("setup", "fix"):
        return Label(f"{phase}: {text}", "setup")
    if outcome.kind in seen.VIOLENT:
        return Label(text, "fault")
    return Label(text, "refused" if seen.refused(result) else "error")


def _end(outcome: Outcome) -> str:
    if outcome.kind is OutcomeKind.CRASH:
        # As the shell's kill writes it: the matrix has little room.
        return outcome.signal.removeprefix("SIG") or "crash"
    if outcome.kind is OutcomeKind.EXIT:
        return "exit" if outcome.status is None else f"exit {outcome.status}"
    return "hang"


def explain(result: Result) -> str:
    """What the label of a result means."""
    outcome = result.outcome
    plain = {
        OutcomeKind.OK: "no call failed",
        OutcomeKind.SKIPPED: "not run here",
        OutcomeKind.UNSUPPORTED: "this runtime lacks a call that the cell needs",
        OutcomeKind.NOT_APPLICABLE: "the fix does not apply to the pattern",
    }
    if outcome.kind in plain:
        return plain[outcome.kind]
    parts = []
    if outcome.code is not None:
        parts.append(f"a call returned {outcome.code}{_named(outcome.name)}")
    elif seen.contexts_differ(result):
        ends = "" if outcome.kind in seen.VIOLENT else ", and XSched ends the process"
        parts.append(f"the current context is not the stream's{ends}")
    elif seen.values_differ(result):
        parts.append("two values that the story compares are not one")
    elif outcome.kind is OutcomeKind.ERROR:
        parts.append("a step could not be done")
    if outcome.kind is OutcomeKind.CRASH:
        parts.append(f"the process was killed by {outcome.signal or 'a signal'}")
    elif outcome.kind is OutcomeKind.EXIT:
        status = "" if outcome.status is None else f" with status {outcome.status}"
        parts.append(f"the process exited{status}")
    elif outcome.kind is OutcomeKind.HANG:
        parts.append("a call did not return in time")
    where = {
        "setup": "before any use of the stream: ",
        "fix": "in the fix's own steps: ",
    }.get(seen.failing_phase(result), "")
    return where + ", and ".join(parts)


def _named(name: str) -> str:
    return f" ({name})" if name else ""


def _remark(result: Result) -> str:
    """What the catalogue says of a violent end before the stream was used, where it expects one."""
    cell, kind = result.cell, result.outcome.kind
    if cell.pattern != _MAY_NOT_START or cell.platform != "hip" or kind not in seen.VIOLENT:
        return ""
    if label(result).style != "setup":
        return ""
    note = next(each.note for each in PATTERNS if each.id == _MAY_NOT_START)
    return f"{_MAY_NOT_START}: {note.rstrip('.')}"


def legend(
    results: Iterable[Result], target: Target, *, complete: bool = True
) -> list[tuple[Label, str]]:
    """The labels that occur, each with what it means, in the order of ``STYLES``.

    ``complete`` is false where a matrix has places without a result.
    """
    found: dict[Label, str] = {}
    for result in results:
        mark = label(result)
        if mark not in found:
            meaning = explain(result)
            if mark.style == "ok" and (seen.hip_version(target) or (0, 0)) >= (7, 0):
                meaning += "; HIP 7 checks the handle in few calls, so that it may be unknown still"
            # The number has another meaning on another platform: say which it has here.
            says = platforms.get(target.platform).says.get(result.outcome.code or 0)
            if says:
                meaning += f". {says.rstrip('.')}"
            found[mark] = meaning
        if (remark := _remark(result)) and remark not in found[mark]:
            found[mark] += f". {remark}"
    if not complete:
        found[NO_RESULT] = "no result: not asked for, or the run was interrupted before it"
    order = list(STYLES)
    return sorted(found.items(), key=lambda item: (order.index(item[0].style), item[0].text))
