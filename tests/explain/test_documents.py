"""What xdiag wrote itself, read back: matrices, examinations, inspections, records."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from explain.conftest import Explain
from explain.samples import XSCHED_OLD, Log
from xdiag import __version__
from xdiag.doctor.examination import Examination
from xdiag.doctor.runtimes_in_process import Inspection, Survey
from xdiag.errors import CannotRun
from xdiag.explain.explanation import explain
from xdiag.explain.facts import Explanation
from xdiag.findings import failed, passed
from xdiag.model import (
    SCHEMA_VERSION,
    Cell,
    Host,
    Outcome,
    OutcomeKind,
    Report,
    Result,
    Support,
    Target,
    Verdict,
)
from xdiag.process.facts import ProcessFacts
from xdiag.render import json_document

TWO = msgspec.structs.replace(
    failed("two copies of libamdhip64 are loaded"), check="process.one-runtime"
)
PROCESS = ProcessFacts(pid=4711, name="python3")


def report(*outcomes: tuple[str, OutcomeKind], verdicts: tuple[Verdict, ...] = ()) -> Report:
    results = tuple(
        Result(Cell(f"{pattern}/none/driver", pattern, "none", "driver"), Outcome(kind))
        for pattern, kind in outcomes
    )
    return Report(
        schema_version=SCHEMA_VERSION, xdiag=__version__, command="xdiag matrix",
        target=Target("hip", "/opt/rocm/lib/libamdhip64.so.6", "software", version="6.4.1"),
        host=Host("Debian 12", "6.1", "glibc 2.36", "3.11", 2), results=results, verdicts=verdicts,
    )  # fmt: skip


def causes_of(found: Explanation) -> dict[str, str]:
    return {each.cause: each.likelihood for each in found.causes}


def test_an_inspection(explained: Explain) -> None:
    document = Inspection(SCHEMA_VERSION, __version__, PROCESS, (TWO, passed("all well")))
    found = explained(json_document.record(document))
    assert found.fault and causes_of(found) == {"two-runtimes": "possible"}
    assert found.sources[0].formats == ("xdiag findings",)
    well = Inspection(SCHEMA_VERSION, __version__, PROCESS, (passed("one copy"),))
    assert not explained(json_document.record(well)).fault


def test_all_inspections(explained: Explain) -> None:
    one = Inspection(SCHEMA_VERSION, __version__, PROCESS, (TWO,))
    survey = Survey(SCHEMA_VERSION, __version__, (one, one), 2, 0, 0)
    found = explained(json_document.record(survey))
    assert found.fault and causes_of(found) == {"two-runtimes": "possible"}


def test_an_examination(explained: Explain) -> None:
    other = msgspec.structs.replace(failed("no GPU answers"), check="devices.answer")
    foretold = msgspec.structs.replace(failed("two will be loaded"), check="forecast.agreement")
    document = Examination(
        SCHEMA_VERSION, __version__, "xdiag doctor", "/", "/usr/bin/python3", "", (other, foretold)
    )
    found = explained(json_document.record(document))
    assert found.fault and causes_of(found) == {"two-runtimes": "possible"}
    assert "two will be loaded" in found.causes[0].because
    assert any("devices.answer: no GPU answers" in note.sentence for note in found.notes)


def test_a_matrix(explained: Explain) -> None:
    verdict = Verdict("thread-bound", "a stream belongs to its thread", Support.REFUTED, "it works")
    sound = report(("same-thread", OutcomeKind.OK), ("second-runtime", OutcomeKind.ERROR),
                   verdicts=(verdict,))  # fmt: skip
    found = explained(json_document.render(sound))
    assert not found.fault and not found.causes
    assert any("thread-bound is refuted" in note.sentence for note in found.notes)
    broken = report(("same-thread", OutcomeKind.ERROR))
    found = explained(json_document.render(broken))
    assert found.fault and any("soundly fails" in note.sentence for note in found.notes)


def test_cells_that_were_refused_are_told_with_their_lines(explained: Explain) -> None:
    outcome = Outcome(OutcomeKind.ERROR, call="hipStreamGetFlags", code=709)
    cell = Cell("second-runtime/none/replay", "second-runtime", "none", "replay")
    text = json_document.render(msgspec.structs.replace(report(), results=(Result(cell, outcome),)))
    found = explained(text)
    (note,) = found.notes
    assert not found.fault and "hipStreamGetFlags returned 709 in 1 cell" in note.sentence
    assert cell.id in text.splitlines()[note.lines[0].number - 1]


def test_a_finding_is_cited_with_its_line(explained: Explain) -> None:
    document = Inspection(SCHEMA_VERSION, __version__, PROCESS, (TWO,))
    text = json_document.record(document)
    (line,) = explained(text).causes[0].lines
    assert line.number > 1 and TWO.summary in text.splitlines()[line.number - 1]


def test_every_key_is_in_the_json(explained: Explain) -> None:
    document = json.loads(json_document.record(explained("")))
    assert document["fault"] is False and document["causes"] == document["failures"] == []


def test_a_records_report(explained: Explain, tmp_path: Path) -> None:
    from recording.writer import Written

    from xdiag.recording.diagnosis import diagnose
    from xdiag.recording.read import read
    from xdiag.recording.report import report as report_of

    written = Written(tmp_path / "run.xdiag")
    process = written.process(100)
    a, b = (
        process.runtime("/torch/libamdhip64.so.6", 1),
        process.runtime("/opt/libamdhip64.so.6", 2),
    )
    thread = process.thread()
    thread.make(a, 0x7F12_8765_4320, 10)
    thread.use(b, 0x7F12_8765_4320, 20, result=709)
    with read(written.path) as recording:
        text = json_document.record(report_of(recording, diagnose(recording)))
    found = explained(text)
    assert found.fault and causes_of(found) == {"two-runtimes": "likely"}
    with pytest.raises(CannotRun, match="a record"):
        explain([str(written.path)])


def test_an_explanation_survives_its_own_json(explained: Explain) -> None:
    for text in (XSCHED_OLD, Log("5.7").start().make().destroy().refuse().text(), "nothing\n"):
        first = explained(text)
        encoded = msgspec.json.encode(first)
        assert msgspec.json.decode(encoded, type=Explanation) == first
        assert json.loads(encoded)["schema_version"] == SCHEMA_VERSION
        again = explained(encoded)
        assert (causes_of(again), again.fault) == (causes_of(first), first.fault)


def test_a_journal(explained: Explain) -> None:
    from xdiag.journal import Header

    header = Header(SCHEMA_VERSION, __version__, report().target)
    found = explained(msgspec.json.encode(header) + b'\n{"cell": {}}\n')
    assert not found.fault and "a journal" in found.notes[0].sentence


def test_a_document_of_a_newer_xdiag(explained: Explain) -> None:
    document = {"schema_version": SCHEMA_VERSION + 1, "xdiag": "9", "findings": []}
    with pytest.raises(CannotRun, match="newer xdiag"):
        explained(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"schema_version": 1}', "[1]", '{"a": ' * 5000, '{"findings": 3}\n' + XSCHED_OLD],
)
def test_other_json_is_text(explained: Explain, text: str) -> None:
    found = explained(text)
    assert found.fault == (XSCHED_OLD in text)
    assert found.sources[0].lines == len(text.splitlines())
