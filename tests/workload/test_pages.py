"""A report as JSON, table, Markdown and picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from xdiag.errors import CannotRun, Usage
from xdiag.render import workload, workload_plot
from xdiag.render.terminal import printed
from xdiag.workload import conclusions
from xdiag.workload.model import (
    Estimate,
    Network,
    Queues,
    Report,
    Run,
    Settings,
    Skip,
    Subject,
    read,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_SVG = "{http://www.w3.org/2000/svg}"


def _report(runs: Sequence[Run], **more: object) -> Report:
    return Report(
        schema_version=1, xdiag="0.1", command="xdiag workload", started="2026-11-28 03:00:00 UTC",
        subject=Subject(
            "/venv/bin/python", "--python /venv", "3.12.3", "2.9.0+rocm6.4", "hip", hip="6.4",
            device="gpu", device_name="AMD Instinct MI300X", driver="amdgpu 6.10.5", processors=8,
        ),
        settings=Settings(
            Network("full", 64, 224), 20, "uniform", 10, 3, 1, 8, 5, 2, 0, 120,
        ),
        runs=tuple(runs), skips=(Skip("cpp", "no C++ compiler"),),
        summaries=conclusions.summaries(runs), statements=conclusions.statements(runs), **more,
    )  # fmt: skip


def _runs(arrangement: str, driver: str, *values: float, **more: object) -> list[Run]:
    return [
        Run(
            arrangement, driver, repeat, "ok", latencies=tuple(value + k for k in range(100)),
            served_rate=20.0, batch_rate=30.0 + repeat, **more,
        )
        for repeat, value in enumerate(values)
    ]  # fmt: skip


@pytest.fixture
def report() -> Report:
    return _report(
        [
            *_runs("baseline", "python", 10, 11, 12),
            *_runs("xsched", "python", 5, 5.5, 6, queues=Queues(0, 0)),
            *_runs("xsched-shim", "python", 5, 5.5, 6, queues=Queues(7000, 9000)),
            *_runs("baseline", "python-script", 9, 9, 9),
            *_runs("baseline", "cpp", 2, 2, 2, unserved=1),
            Run("xsched", "cpp", 0, "exit", 1, "[ERRO] hip error 709: context is destroyed"),
        ],
        environment={"XSCHED_HIP_LIB": "/venv/torch/lib/libamdhip64.so"},
    )


def test_json_comes_back_as_it_was(report: Report) -> None:
    assert read(workload.document(report).encode(), "r.json") == report


@pytest.mark.parametrize("text", [b"", b"[]", b'{"schema_version": 1}', b"\xff"])
def test_what_is_no_report_is_one_line(text: bytes) -> None:
    with pytest.raises(Usage, match=r"^r.json is not a report of xdiag workload: [^\n]+$"):
        read(text, "r.json")


def test_a_newer_report_is_said_to_be_newer(report: Report) -> None:
    newer = workload.document(replace(report, schema_version=99))
    with pytest.raises(Usage, match="newer than this one"):
        read(newer.encode(), "r.json")


def test_the_table_says_what_it_ran_on_and_what_was_found(report: Report) -> None:
    text = printed(lambda console: workload.show(report, console), 160)
    assert "on the GPU AMD Instinct MI300X, driver amdgpu 6.10.5" in text
    assert "torch 2.9.0+rocm6.4 (built for HIP 6.4)" in text
    assert "set for XSched: XSCHED_HIP_LIB=/venv/torch/lib/libamdhip64.so" in text
    row = next(line for line in text.splitlines() if line.lstrip().startswith("baseline      py"))
    # Medians 59.5, 60.5, 61.5: mean 60.5, half an interval 4.303 / sqrt(3).
    assert re.search(r"60\.5 \+-2\.48 ", row)
    assert "20.0 +-0.00 of 20" in row
    assert ">= 51.5" in text
    assert "xsched under cpp: 1 run exit status 1: [ERRO] hip error 709" in text
    assert "xsched under python: 0 + 0 commands went through XSched's queues, so that" in text
    assert "xsched-shim under python: 21000 + 27000 commands went through" in text
    assert "skipped: cpp: no C++ compiler" in text
    _, threads, _, mixed = re.split(r"\n(Python threads .*)\n", text)[1:]
    assert "of python-script against cpp:" in threads and "of python against cpp:" not in threads
    assert "of python against cpp:" in mixed
    assert text.rstrip().split("\n\n")[-1].startswith("Whether Python threads are to blame")


def test_a_cpu_is_said_to_be_none(report: Report) -> None:
    subject = replace(report.subject, device="cpu", device_name="EPYC", no_gpu="no driver")
    text = printed(lambda console: workload.show(replace(report, subject=subject), console), 160)
    assert "on a CPU (EPYC), not a GPU: no driver" in text
    assert "this says nothing about a GPU's scheduling" in text


def test_markdown_has_the_same(report: Report) -> None:
    text = workload.markdown(report)
    assert "| arrangement" in text and "## Python threads against pthreads" in text
    assert text.count("| baseline") == 3
    assert text.rstrip().endswith("**")


def test_the_picture_has_a_mark_for_each_percentile(report: Report) -> None:
    root = ElementTree.fromstring(workload_plot.svg(report))
    assert len(root.findall(f"{_SVG}g")) == 3 + 5 * 3  # the legend, and five lines
    labels = [each.text for each in root.findall(f"{_SVG}text")]
    assert "baseline, python" in labels
    assert "baseline, cpp (at least)" in labels
    places = [
        float(each.attrib["transform"].removeprefix("translate(").split()[0])
        for each in root.findall(f"{_SVG}g")
    ]
    assert all(200 < place < 960 for place in places)
    # Of each line P50, P90, P99 from left to right.
    for first in range(3, 18, 3):
        assert places[first] < places[first + 1] < places[first + 2]


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=5),
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=30),
)
def test_the_picture_is_well_formed_whatever_is_in_it(values: list[float], name: str) -> None:
    report = _report(_runs("baseline", "python", *values))
    subject = replace(report.subject, device_name=name)
    root = ElementTree.fromstring(workload_plot.svg(replace(report, subject=subject)))
    for line in root.findall(f"{_SVG}line"):
        for end in ("x1", "x2"):
            assert 229 <= float(line.attrib[end]) <= 931


@given(st.floats(1e-6, 1e6), st.floats(1, 1e6))
def test_ticks_enclose_what_is_drawn(low: float, factor: float) -> None:
    mark = workload_plot.Mark("P50", low, low, low * factor)
    axis = workload_plot.ticks([workload_plot.Line("x", (mark,))])
    assert axis == sorted(axis) and len(axis) > 1
    assert axis[0] <= low * (1 + 1e-9) and axis[-1] >= low * factor * (1 - 1e-9)


def test_nothing_to_draw_is_one_line() -> None:
    with pytest.raises(CannotRun, match="nothing to draw"):
        workload_plot.svg(_report([]))


def test_a_png_is_drawn_where_matplotlib_is(report: Report) -> None:
    if not workload_plot.can_draw_png():
        with pytest.raises(CannotRun, match="a PNG needs matplotlib"):
            workload_plot.png(report)
        return
    assert workload_plot.png(report).startswith(b"\x89PNG\r\n")


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(1.375), "1.38"),
        (Estimate(1.375, 1.25, 1.5), "1.38 +-0.12"),
        (Estimate(92.49, 80, 104.98), "92.5 +-12.5"),
        (Estimate(117.09), "117"),
    ],
)
def test_figures_have_three_digits(estimate: Estimate, text: str) -> None:
    assert workload.figure(estimate) == text
