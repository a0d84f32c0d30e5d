"""Documents that xdiag wrote itself: reports of a matrix, examinations, inspections, records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from xdiag import causes, journal
from xdiag.errors import CannotRun
from xdiag.explain.facts import LONGEST, Explanation, Line, Note
from xdiag.findings import Finding, Status
from xdiag.model import SCHEMA_VERSION, Report, Support
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
        raise CannotRun(
            f"{stream.name}: a record is explained from a file, not among other sources"
        )
    if not stream.head.lstrip().startswith(b"{"):
        return False
    data = stream.whole(_MOST_BYTES)
    found = _document(data, stream.name) if data is not None else None
    if data is None or found is None:
        return False
    stream.bytes, stream.newlines = len(data), data.count(b"\n")
    _Telling(stream.name, evidence).tell(found)
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

    def __init__(self, name: str, evidence: Evidence) -> None:
        self._name = name
        self._evidence = evidence

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
                self._note(f"{verdict.hypothesis} is {verdict.mark.value} ({where}):"
                           f" {verdict.because}")  # fmt: skip

    def _findings(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.status is not Status.FAIL:
                continue
            self._evidence.stated_fault = True
            if finding.check in _TWO_RUNTIMES:
                self._state("two-runtimes", finding.summary, "possible")
            else:
                self._note(f"{finding.check}: {finding.summary}")

    def _state(self, cause: str, sentence: str, likelihood: Likelihood) -> None:
        if any(each.id == cause for each in causes.CAUSES):
            line = Line(self._name, 1, sentence[:LONGEST])
            self._evidence.stated.append((cause, likelihood, sentence, line))
        else:
            self._note(f"{cause}: {sentence}")

    def _note(self, sentence: str) -> None:
        if len(self._evidence.notes) < _MOST_NOTES:
            line = Line(self._name, 1, sentence[:LONGEST])
            self._evidence.notes.append(Note(sentence, (line,)))
