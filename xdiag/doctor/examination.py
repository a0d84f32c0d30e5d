"""An examination: checks are run on a patient, each once, after those that it requires."""

from __future__ import annotations

import datetime
import shlex
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag import __version__
from xdiag.discover.libraries import LibraryFile  # noqa: TC001 - msgspec reads it
from xdiag.doctor.forecast import Forecast, forecast
from xdiag.errors import COULD_NOT_RUN, FAULT_FOUND, NOTHING_WRONG, XdiagError
from xdiag.findings import CheckFacts, Finding, Status, skipped
from xdiag.model import SCHEMA_VERSION, Host, Record
from xdiag.runtimes.host import host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xdiag.doctor.check import Check
    from xdiag.doctor.patient import Patient

#: What keeps the checks that depend on a finding from being asked.
_BLOCKING = (Status.FAIL, Status.ERR, Status.SKIP)


class Examination(Record, frozen=True):
    """All that a visit found: what ``xdiag doctor --json`` writes."""

    #: Always ``SCHEMA_VERSION`` when written; a reader refuses a newer one.
    schema_version: int
    xdiag: str
    command: str
    #: The file tree that was looked at; "/" is the machine's own.
    root: str
    #: The interpreter, and why it was this one, or why there is none.
    python: str
    python_because: str
    findings: tuple[Finding, ...]
    #: The checks that the findings come from.
    checks: tuple[CheckFacts, ...] = ()
    #: The program of a command about to be started; empty without one.
    program: str = ""
    #: The facts behind the findings, where a check asked for them: every GPU library on disk, and
    #: which of them each party of the program will open.
    libraries: tuple[LibraryFile, ...] = ()
    forecast: Forecast | None = None
    #: The machine; none for an image.
    host: Host | None = None
    seconds: float = 0.0
    started: str = ""


def examine(
    patient: Patient,
    chosen: Sequence[Check],
    catalogue_: Sequence[Check],
    arguments: Sequence[str] = (),
) -> Examination:
    """Look at the patient with the chosen checks; ``arguments`` are the command line's."""
    started, clock = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    found = findings(patient, chosen, catalogue_)
    shown = {finding.check for finding in found}
    interpreter = patient.interpreter
    return Examination(
        schema_version=SCHEMA_VERSION,
        xdiag=__version__,
        command=shlex.join(["xdiag", *arguments]),
        root=patient.root.path,
        python=interpreter.path if interpreter is not None else "",
        python_because=interpreter.because if interpreter is not None else patient.no_interpreter,
        program=patient.program,
        host=host() if patient.root.is_this_machine else None,
        checks=catalogue(check for check in catalogue_ if check.id in shown),
        findings=found,
        libraries=patient.libraries.files if patient.knows("libraries") else (),
        forecast=forecast(patient) if any(each.startswith("forecast.") for each in shown) else None,
        seconds=time.monotonic() - clock,
        started=started.isoformat(timespec="seconds"),
    )


def catalogue(checks: Iterable[Check]) -> tuple[CheckFacts, ...]:
    """What a reader has to know about checks."""
    return tuple(
        CheckFacts(check.id, check.title, check.probe, check.severity, check.requires)
        for check in checks
    )


def findings(
    patient: Patient, chosen: Iterable[Check], catalogue: Sequence[Check]
) -> tuple[Finding, ...]:
    """Findings of the chosen checks, in the catalogue's order.

    What they require is looked at as well, and told only where it failed: one root cause is one
    failure, and what depends on it is skipped.
    """
    wanted = {check.id for check in chosen}
    by_id = {check.id: check for check in catalogue}
    needed: set[str] = set()
    todo = list(wanted)
    while todo:
        id = todo.pop()
        if id not in needed:
            needed.add(id)
            todo += by_id[id].requires
    found: dict[str, Finding] = {}
    for check in catalogue:
        if check.id in needed:
            found[check.id] = _look(check, patient, found)
    return tuple(
        finding
        for id, finding in found.items()
        if id in wanted or finding.status in (Status.FAIL, Status.ERR)
    )


def exit_code(findings: Iterable[Finding]) -> int:
    """1 where a check failed, 3 where one could not be carried out or none was, else 0."""
    seen = {finding.status for finding in findings}
    if Status.FAIL in seen:
        return FAULT_FOUND
    if Status.ERR in seen or seen <= {Status.SKIP}:
        return COULD_NOT_RUN
    return NOTHING_WRONG


def _look(check: Check, patient: Patient, found: dict[str, Finding]) -> Finding:
    for id in check.requires:
        before = found[id]
        if before.status in _BLOCKING:
            return replace(skipped(_because(before)), check=check.id)
    if check.probe != "passive" and not patient.root.is_this_machine:
        finding = skipped("an image is only read: nothing in it is run")
    else:
        try:
            finding = check.look(patient)
        except XdiagError as error:
            finding = Finding("", Status.ERR, str(error))
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            finding = Finding("", Status.ERR, f"{what}{error.strerror or error}")
        except Exception as error:
            # One check's bug must not cost the others' findings.
            if patient.debug:
                raise
            told = f"internal error: {type(error).__name__}: {error}"
            finding = Finding("", Status.ERR, f"{told} (a bug; --debug shows the traceback)")
    return replace(finding, check=check.id)


def _because(before: Finding) -> str:
    """Why what depends on a finding is skipped: its id, and its reason if that is one."""
    if before.status is Status.SKIP:
        return before.summary
    return f"{before.check} says {before.status.value}"
