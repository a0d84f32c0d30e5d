"""Documents that xdiag wrote itself: reports of a matrix, examinations, inspections, records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from xdiag import causes, journal
from xdiag.errors import CannotRun
from xdiag.explain.facts import LONGEST, Explanation, Line, Note
from xdiag.findings import Finding, Status
from xdiag.model import SCHEMA_VERSION, OutcomeKind, Report, Support
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED
from xdiag.recording import layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.explain.evidence import Evidence
    from xdiag.explain.facts import Likelihood
    from xdiag.explain.stream import Stream

#: Bytes of a document that is read.  The whole catalogue for two consumers takes 6.5 MB.
_MOST_BYTES = 24 << 20
#: Values in one, by their commas: each takes up to 80 bytes of memory.
_MOST_VALUES = 1_000_000
#: Notes taken from documents.
_MOST_NOTES = 64
#: Cells named of those in which one call was refused.
_MOST_CELLS = 4
#: Findings of documents that say that two copies are, or will be, loaded.
_TWO_RUNTIMES = ("forecast.agreement", "process.one-runtime")


class _Findings(msgspec.Struct):
    """What doctor and inspect write, as far as it is looked into."""

    schema_version: int
    findings: tuple[Finding, ...]


class _Survey(msgspec.Struct):
    schema_version: int
    inspections: tuple[_Findings, ...]


class _Diagnosis(msgspec.Struct):
    cause: str
    sentence: str
    fault: bool = True
    certain: bool = True


class _Recorded(msgspec.Struct):
    schema_version: int
    record: msgspec.Raw
    diagnoses: tuple[_Diagnosis, ...] = ()


def is_record(head: bytes) -> bool:
    """Whether a source that begins so is a record of xdiag run."""
    return head.startswith(layout.MAGIC)


def take(stream: Stream, evidence: Evidence) -> bool:
    """Read the source if it is a document of xdiag's; False, and nothing read, if it is none.

    Raises CannotRun for a record, and for a document that a newer xdiag wrote.
    """
    if is_record(stream.head):
        raise CannotRun(f"{stream.name}: a record of xdiag run: give it to xdiag explain by itself")
    if not stream.head.lstrip().startswith(b"{"):
        return False
    data = stream.whole(_MOST_BYTES)
    found = _document(data, stream.name) if data is not None else None
    if data is None or found is None:
        return False
    stream.bytes, stream.newlines = len(data), data.count(b"\n")
    _Telling(stream.name, evidence, data).tell(found)
    return True


def _document(data: bytes, name: str) -> Any:
    """The document; None for what is none of xdiag's."""
    if data.count(b",") > _MOST_VALUES:
        return None
    for kind in (Report, _Recorded, _Findings, _Survey, Explanation):
        try:
            found: Any = msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if found.schema_version > SCHEMA_VERSION:
            raise CannotRun(f"{name}: written by a newer xdiag; update xdiag")
        return found
    return _journal(data)


def _journal(data: bytes) -> Any:
    try:
        first = msgspec.json.decode(data.split(b"\n", 1)[0], type=journal.Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return first if first.schema_version <= SCHEMA_VERSION else None


class _Telling:
    """What a document says, for the evidence."""

    def __init__(self, name: str, evidence: Evidence, data: bytes) -> None:
        self._name = name
        self._evidence = evidence
        self._data = data

    def tell(self, found: Any) -> None:
        """Tell of a document of any kind."""
        formats, evidence = self._evidence.formats, self._evidence
        if isinstance(found, Report):
            formats["xdiag matrix"] = None
            self._matrix(found)
        elif isinstance(found, _Findings):
            formats["xdiag findings"] = None
            self._findings(found.findings)
        elif isinstance(found, _Survey):
            formats["xdiag inspect --all"] = None
            for each in found.inspections:
                self._findings(each.findings)
        elif isinstance(found, _Recorded):
            formats["xdiag record"] = None
            for diagnosis in found.diagnoses:
                evidence.stated_fault = evidence.stated_fault or diagnosis.fault
                self._state(
                    diagnosis.cause,
                    diagnosis.sentence,
                    "likely" if diagnosis.certain else "possible",
                )
        elif isinstance(found, Explanation):
            formats["xdiag explanation"] = None
            evidence.stated_fault = evidence.stated_fault or found.fault
            for cause in found.causes:
                self._state(cause.cause, cause.because, cause.likelihood)
        else:
            formats["xdiag journal"] = None
            self._note("a journal of a matrix: xdiag matrix --resume FILE makes a report of it")

    def _matrix(self, report: Report) -> None:
        from xdiag.session import faulty

        where = f"HIP {report.target.version or 'of unknown version'}, {report.target.agent} agent"
        if faulty(report):
            self._evidence.stated_fault = True
            self._note(f"a pattern that uses the library soundly fails on that machine ({where})")
        for verdict in report.verdicts:
            if verdict.mark is not Support.OPEN:
                said = f"{verdict.hypothesis} is {verdict.mark.value} ({where}): {verdict.because}"
                self._note(said, verdict.because)
        self._failed_cells(report, where)

    def _failed_cells(self, report: Report, where: str) -> None:
        """Cells in which a handle was refused: they were made to fail, and are no fault."""
        refused: dict[str, list[str]] = {}
        for result in report.results:
            outcome = result.outcome
            if outcome.kind is OutcomeKind.ERROR and outcome.code == CONTEXT_IS_DESTROYED:
                refused.setdefault(outcome.call or "a call", []).append(result.cell.id)
        for call, cells in refused.items():
            shown = ", ".join(cells[:_MOST_CELLS])
            more = f" and {len(cells) - _MOST_CELLS} more" if len(cells) > _MOST_CELLS else ""
            self._note(
                f"an experiment, no log of a failure: {call} returned 709 in {len(cells)}"
                f" {'cell' if len(cells) == 1 else 'cells'} ({where}): {shown}{more}",
                cells[0],
            )

    def _findings(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.status is not Status.FAIL:
                continue
            self._evidence.stated_fault = True
            if finding.check in _TWO_RUNTIMES:
                self._state("two-runtimes", finding.summary, "possible")
            else:
                self._note(f"{finding.check}: {finding.summary}", finding.summary)

    def _state(self, cause: str, sentence: str, likelihood: Likelihood) -> None:
        if any(each.id == cause for each in causes.CAUSES):
            line = self._line(sentence, sentence)
            self._evidence.stated.append((cause, likelihood, sentence, line))
        else:
            self._note(f"{cause}: {sentence}", sentence)

    def _note(self, sentence: str, written: str = "") -> None:
        if len(self._evidence.notes) < _MOST_NOTES:
            line = self._line(sentence, written or sentence)
            self._evidence.notes.append(Note(sentence, (line,)))

    def _line(self, sentence: str, written: str) -> Line:
        """The line in which something is written; the first one where it is put together here."""
        place = self._data.find(msgspec.json.encode(written)[1:-1])
        number = self._data.count(b"\n", 0, place) + 1 if place >= 0 else 1
        return Line(self._name, number, sentence[:LONGEST])
