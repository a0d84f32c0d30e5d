"""Each format, read back by a reader of its own kind."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from render.readers import Page, markdown_headings, markdown_markup, markdown_tables
from xdiag.consumers import CONSUMERS
from xdiag.fixes import FIXES
from xdiag.model import FAULTS, Report, Verdict
from xdiag.patterns import PATTERNS
from xdiag.render import FORMATS, render, table
from xdiag.render.header import STANDS_IN
from xdiag.render.labels import label
from xdiag.render.text import printable

HUMAN = ("table", "markdown", "html")
ANY = st.text(st.characters(exclude_categories=()), max_size=40)


def visible(text: str, format: str) -> str:
    """What a human reader of the format sees, in one line of single spaces."""
    if format == "html":
        text = Page(text).text()
    elif format == "markdown":
        text = re.sub(r"\\([^A-Za-z0-9])", r"\1", text)
    return " ".join(text.split())


# ---- what all formats share ----


def test_the_registry_names_formats_that_write(make):
    report = make.report([make.result()])
    for name, entry in FORMATS.items():
        assert entry.name == name and entry.suffix.startswith(".") and entry.help
        assert render(report, name).endswith("\n")
    with pytest.raises(KeyError):
        render(report, "pdf")


@pytest.mark.parametrize("format", HUMAN)
def test_the_header_says_what_it_ran_on(make, format):
    target = make.target(agent="software", notes=("a note of this run",))
    shown = visible(render(make.report([make.result()], target=target), format), format)
    for fact in (
        "/opt/rocm/lib/libamdhip64.so.6", "6.4.43482", "ab12", STANDS_IN,
        "2 devices (software agent)" if format == "table" else "2 (gfx90a)",
        "Debian 12", "6.1.0", "glibc 2.36", "3.11.7", "16", "docker", "0.1.0",
        "2025-11-23T02:51:00+00:00", "1 planned, 1 result, 12.5 s", "a note of this run",
    ):  # fmt: skip
        assert fact in shown, fact


@pytest.mark.parametrize("format", HUMAN)
def test_hardware_is_called_hardware(make, format):
    shown = visible(render(make.report([make.result()]), format), format)
    assert ("2 devices (gfx90a)" if format == "table" else "hardware") in shown
    assert "stands in" not in shown and "software agent" not in shown


@pytest.mark.parametrize("format", HUMAN)
def test_an_interrupted_run_says_so_and_a_whole_one_does_not(make, format):
    results = [make.result()]
    assert "interrupted: 1 of 7 cells" in visible(
        render(make.report(results, planned=7), format), format
    )
    assert "interrupted" not in visible(render(make.report(results), format), format)


@pytest.mark.parametrize("format", HUMAN)
def test_verdicts_come_with_mark_reason_remedy_and_cells(make, format):
    shown = visible(render(make.mixed(), format), format)
    for text in ("supported", "refuted", "open", "two-runtimes", "another copy", "seen",
                 "nothing decides it", "XSCHED_HIP_LIB=<that file>", "cross-thread/none/driver",
                 "as expected", "against it"):  # fmt: skip
        assert text in shown, text
    assert shown.index("another copy") < shown.index("nothing decides it")
    # The remedy of what is refuted is nobody's business.
    assert "make the stream in the thread that uses it" not in shown


@pytest.mark.parametrize("format", FORMATS)
def test_a_run_without_results_is_written_too(make, format):
    text = render(make.report([], planned=3), format)
    assert "libamdhip64" in text or format in ("csv", "junit")


# ---- terminal ----


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_table_keeps_within_its_width(make, width):
    for report in (make.full(), make.mixed()):
        lines = table.render(report, width).splitlines()
        assert max(map(cell_len, lines)) <= width
        assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_shows_every_label_in_its_place(make, width):
    report = make.full()
    lines = [line.split() for line in table.render(report, width).splitlines()]
    expected = {r.cell.id: label(r).text for r in report.results}
    seen = 0
    for pattern in PATTERNS:
        # Where it is narrow, a consumer's row stands in several bands.
        shown = [text for line in lines if line[:1] == [pattern.id] for text in line[1:]]
        assert shown == [
            expected[f"{pattern.id}/{fix.id}/{consumer.id}"]
            for consumer in CONSUMERS
            for fix in FIXES
        ]
        seen += len(shown)
    assert seen == len(PATTERNS) * len(CONSUMERS) * len(FIXES)


def test_heads_are_ids_where_they_fit_and_numbers_with_a_list_where_not(make):
    wide, narrow = table.render(make.full(), 240), table.render(make.full(), 100)
    heads = [line.split() for line in wide.splitlines()]
    assert [fix.id for fix in FIXES] in heads
    lines = [line.split() for line in narrow.splitlines()]
    assert [str(place) for place in range(1, len(FIXES) + 1)] in lines
    for place, fix in enumerate(FIXES, 1):
        assert [str(place), fix.id, *fix.title.split()] in lines


def test_what_does_not_fit_stands_in_bands(make):
    results = [
        make.ended("crash", signal="SIGSEGV", step=4, code=709, name="n", fix=fix.id)
        for fix in FIXES
    ]
    text = table.render(make.report(results), 50)
    rows = [line for line in text.splitlines() if line.startswith("second-runtime ")]
    assert len(rows) > 1 and sum(row.count("709+SEGV") for row in rows) == len(FIXES)


def test_a_place_without_result_is_marked_and_explained(make):
    report = make.report(
        [make.result(pattern="same-thread"), make.result(pattern="cross-thread", fix="set-device")]
    )
    lines = [line.split() for line in table.render(report, 120).splitlines()]
    assert ["same-thread", "ok", "?"] in lines and ["cross-thread", "?", "ok"] in lines
    assert any(line[:3] == ["?", "no", "result:"] for line in lines)


def test_order_is_the_catalogues_whatever_finished_first(make):
    report = make.full()
    shuffled = msgspec.structs.replace(report, results=report.results[::-1])
    for format in ("table", "markdown", "csv", "html", "junit"):
        assert render(shuffled, format) == render(report, format)


def test_colour_is_only_where_the_console_has_it(make, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def printed(**options) -> str:
        written = io.StringIO()
        table.show(make.mixed(), Console(file=written, width=100, **options))
        return written.getvalue()

    coloured = printed(force_terminal=True, color_system="standard")
    plain = printed(force_terminal=False)
    assert "\x1b[" in coloured and "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


# ---- csv ----


def test_csv_has_a_row_per_cell_with_all_its_fields(make):
    report = make.mixed()
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert len(rows) == len(report.results)
    by_cell = {(row["pattern"], row["fix"], row["consumer"]): row for row in rows}
    for result in report.results:
        cell, outcome = result.cell, result.outcome
        row = by_cell[cell.pattern, cell.fix, cell.consumer]
        assert row["outcome"] == outcome.kind.value
        assert row["code"] == ("" if outcome.code is None else str(outcome.code))
        assert row["message"] == printable(outcome.message)
        assert row["reason"] == printable(outcome.reason)
        assert float(row["seconds"]) == outcome.seconds
        assert (row["runtime"], row["version"], row["agent"]) == (
            report.target.runtime, "6.4.43482", "hardware",
        )  # fmt: skip
    died = by_cell["device-reset", "none", "driver"]
    assert (died["failing_call"], died["died_in_call"], died["signal"]) == (
        "hipStreamGetFlags", "hipStreamQuery", "SIGSEGV",
    )  # fmt: skip
    assert by_cell["null-stream", "none", "driver"]["status"] == "1"


# ---- json ----


def test_json_round_trips(make):
    report = make.mixed()
    text = render(report, "json")
    assert msgspec.json.decode(text, type=Report) == report
    data = json.loads(text)
    assert data["schema_version"] == 1
    assert len(data["results"]) == len(report.results)
    assert data["results"][1]["outcome"]["code"] == 709


def test_json_of_a_file_name_that_is_not_unicode(make):
    report = make.report([make.result()], target=make.target(runtime="/opt/\udce9/lib.so"))
    data = json.loads(render(report, "json").encode("utf-8"))
    assert data["target"]["runtime"] == "/opt/\\udce9/lib.so"


# ---- markdown ----


def test_markdown_matrix_has_every_label_in_its_place(make):
    report = make.full()
    tables = [t for t in markdown_tables(render(report, "markdown")) if len(t[0]) > len(FIXES)]
    expected = {r.cell.id: label(r).text for r in report.results}
    assert len(tables) == len(CONSUMERS)
    for consumer, rows in zip(CONSUMERS, tables, strict=True):
        assert rows[0] == ["pattern", *(fix.id for fix in FIXES)]
        assert rows[1:] == [
            [p.id, *(expected[f"{p.id}/{f.id}/{consumer.id}"] for f in FIXES)] for p in PATTERNS
        ]


def test_markdown_legend_has_what_occurs(make):
    report = make.mixed()
    tables = markdown_tables(render(report, "markdown"))
    (legend,) = [rows for rows in tables if rows[0] == ["label", "meaning"]]
    shown = {row[0] for row in legend[1:]}
    assert shown == {label(result).text for result in report.results}


def test_markdown_holds_the_trace_of_a_fault_that_decides(make):
    text = render(make.mixed(), "markdown")
    (trace,) = [rows for rows in markdown_tables(text) if rows[0][:2] == ["phase", "#"]]
    assert [row[0] for row in trace[1:]] == ["setup", "", "", "fix", "use", ""]
    assert trace[5][4:8] == ["hipStreamGetFlags(s)", "0x5647ec7885b0", "B",
                             "709 hipErrorContextIsDestroyed"]  # fmt: skip
    assert any(h.startswith("cross-thread/none/driver: 709") for h in markdown_headings(text))


def test_markdown_lets_no_markup_in(make):
    kinds = markdown_markup(render(make.mixed(), "markdown"))
    assert not kinds & {"html_inline", "html_block", "link_open", "em_open", "code_inline", "image"}
    assert "table_open" in kinds


# ---- junit ----


def test_junit_counts_are_those_of_its_cases(make):
    report = make.mixed()
    root = ET.fromstring(render(report, "junit"))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["driver", "replay"]
    totals: Counter[str] = Counter()
    for suite in suites:
        cases = suite.findall("testcase")
        found = {
            "tests": len(cases),
            "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")),
            "skipped": len(suite.findall("testcase/skipped")),
        }
        assert {name: int(suite.get(name)) for name in found} == found
        assert float(suite.get("time")) == pytest.approx(sum(float(c.get("time")) for c in cases))
        totals.update(found)
    sound = {pattern.id for pattern in PATTERNS if pattern.sound}
    broken = [
        result
        for result in report.results
        if result.outcome.kind in FAULTS and result.cell.pattern in sound
    ]
    assert totals["tests"] == len(report.results) and totals["skipped"] == 3
    assert totals["failures"] + totals["errors"] == len(broken) > 0
    assert totals["failures"] > 0 and totals["errors"] > 0
    assert {name: int(root.get(name)) for name in totals} == totals


def test_junit_failures_carry_the_trace(make):
    root = ET.fromstring(render(make.report([make.error(pattern="cross-thread")]), "junit"))
    (failure,) = root.iter("failure")
    assert failure.get("type") == "error"
    assert failure.get("message").startswith("709: hipErrorContextIsDestroyed: hipStreamGetFlags")
    lines = [line.split() for line in failure.text.splitlines()]
    assert ["use", "4", "worker", "104", "hipStreamGetFlags(s)", "0x5647ec7885b0", "B", "709",
            "hipErrorContextIsDestroyed", "1.5"] in lines  # fmt: skip


def test_junit_passes_what_a_story_of_misuse_is_there_to_show(make):
    root = ET.fromstring(render(make.report([make.error(pattern="second-runtime")]), "junit"))
    assert (root.get("failures"), root.get("errors"), root.get("tests")) == ("0", "0", "1")
    (output,) = root.iter("system-out")
    assert "709 hipErrorContextIsDestroyed" in output.text


def test_junit_says_why_a_case_was_skipped_and_what_it_ran_on(make):
    skipped = make.result("skipped", reason="needs 2 devices", trace=())
    root = ET.fromstring(render(make.report([skipped]), "junit"))
    assert [e.get("message") for e in root.iter("skipped")] == ["needs 2 devices"]
    properties = {e.get("name"): e.get("value") for e in root.iter("property")}
    assert properties["runtime"] == "/opt/rocm/lib/libamdhip64.so.6"
    assert (properties["version"], properties["agent"]) == ("6.4.43482", "hardware")


# ---- any string, anywhere ----


def report_of(make, text: str) -> Report:
    """A report with one string wherever a string can come from outside."""
    failed = make.ended("exit", status=1, message=text, reason=text, pattern="cross-thread")
    # Never a name of the catalogue, which would change the order.
    skipped = make.result("skipped", pattern=f"~{text}", fix=f"~{text}", reason=text, trace=())
    evidence = ()
    return make.report(
        [failed, skipped],
        target=make.target(runtime=f"/{text}", device_name=text, notes=(text,), version=text),
        verdicts=(Verdict(text, text, make.mixed().verdicts[0].mark, text, evidence),),
        command=text,
    )


@settings(max_examples=60, deadline=None)
@given(text=ANY)
def test_any_string_leaves_csv_whole(make, text):
    rows = list(csv.reader(io.StringIO(render(report_of(make, text), "csv"))))
    assert {len(row) for row in rows} == {17} and len(rows) == 3
    assert rows[1][11] == rows[1][10] == printable(text)


@settings(max_examples=60, deadline=None)
@given(text=ANY)
def test_any_string_leaves_junit_whole(make, text):
    root = ET.fromstring(render(report_of(make, text), "junit").encode("utf-8"))
    assert [e.get("message") for e in root.iter("skipped")] == [printable(text) or "skipped"]
    (failure,) = root.iter("failure")
    assert printable(text) in failure.text


@settings(max_examples=60, deadline=None)
@given(text=ANY)
def test_any_string_leaves_html_whole(make, text):
    page = Page(render(report_of(make, text), "html"))
    assert f"/{printable(text)}" in page.text()
    shapes = Counter(tag for tag, _ in page.tags)
    usual = Counter(tag for tag, _ in Page(render(report_of(make, "usual"), "html")).tags)
    # An empty string leaves some rows out; no string adds an element.
    assert shapes == usual or not text


@settings(max_examples=60, deadline=None)
@given(text=ANY)
def test_any_string_leaves_markdown_whole(make, text):
    tables = markdown_tables(render(report_of(make, f"x{text}x"), "markdown"))
    usual = markdown_tables(render(report_of(make, "usual"), "markdown"))
    assert [[len(row) for row in t] for t in tables] == [[len(row) for row in t] for t in usual]
    facts = dict(row for row in tables[0][1:])
    assert facts["command"] == f"x{printable(text)}x"


@settings(max_examples=60, deadline=None)
@given(text=ANY)
def test_any_string_leaves_the_table_whole(make, text):
    shown = table.render(report_of(make, text), 80)
    assert shown.replace("\n", "").isprintable()
    assert max(map(cell_len, shown.splitlines())) <= 80


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_any_string_round_trips_through_json(make, text):
    report = report_of(make, text)
    assert msgspec.json.decode(render(report, "json"), type=Report) == report
