"""The report as JUnit XML: a suite per consumer, a case per cell.

As a gate it goes by the stories that use the library soundly: a cell of theirs whose use of the
stream failed is a failure, and one that failed before the use (in the set-up or in a fix's own
steps) an error.  What a story of misuse shows stands in the output of its case, which passes.  A
cell that was not run is skipped.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from xdiag.model import FAULTS
from xdiag.patterns import PATTERNS
from xdiag.render import header, trace
from xdiag.render.labels import label
from xdiag.render.matrix import Matrix, matrices
from xdiag.render.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.model import Report, Result, Target


_SOUND = {pattern.id: pattern.sound for pattern in PATTERNS}


def render(report: Report) -> str:
    """The report as a ``testsuites`` document."""
    return render_all([report])


def render_all(reports: Sequence[Report]) -> str:
    """Several reports in one document; the names of their suites then say the version first."""
    suites = [
        _suite(matrix, report, f"{report.target.version} " if len(reports) > 1 else "")
        for report in reports
        for matrix in matrices(report)
    ]
    root = ET.Element("testsuites", name="xdiag")
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}")
    root.extend(suites)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(matrix: Matrix, report: Report, prefix: str) -> ET.Element:
    results = matrix.ordered()
    cases = [_case(result, report.target) for result in results]
    suite = ET.Element("testsuite", name=printable(prefix + matrix.consumer), tests=str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(result.outcome.seconds for result in results):.3f}")
    if report.started:
        suite.set("timestamp", printable(report.started))
    properties = ET.SubElement(suite, "properties")
    for term, text in header.facts(report):
        ET.SubElement(properties, "property", name=term, value=printable(text))
    suite.extend(cases)
    return suite


def _case(result: Result, target: Target) -> ET.Element:
    cell, outcome = result.cell, result.outcome
    case = ET.Element(
        "testcase",
        classname=printable(f"xdiag.{cell.consumer}.{cell.pattern}"),
        name=printable(f"{cell.pattern} / {cell.fix}"),
        time=f"{outcome.seconds:.3f}",
    )
    mark = label(result)
    if mark.style == "absent":
        ET.SubElement(case, "skipped", message=printable(outcome.reason or mark.text))
    elif outcome.kind in FAULTS and not _SOUND.get(cell.pattern, True):
        # A story that misuses the library is there to show the fault: no failure of the machine.
        ET.SubElement(case, "system-out").text = f"\n{trace.plain(result, target)}"
    elif outcome.kind in FAULTS:
        tag = "error" if mark.style == "setup" else "failure"
        element = ET.SubElement(case, tag, type=outcome.kind.value, message=_message(result))
        element.text = f"\n{trace.plain(result, target)}"
    return case


def _message(result: Result) -> str:
    outcome = result.outcome
    parts = (label(result).text, outcome.name, outcome.call, outcome.message)
    return printable(": ".join(part for part in parts if part))
