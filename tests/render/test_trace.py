from __future__ import annotations

import io

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from render.readers import markdown_tables
from xdiag.render import trace
from xdiag.render.header import STANDS_IN


def shown(result, target, width=200) -> str:
    written = io.StringIO()
    trace.show(result, target, Console(file=written, width=width))
    return written.getvalue()


def test_a_row_per_record_with_every_column(make):
    rows = trace.rows(make.error())
    assert [row.number for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert rows[0].texts() == ("0", "main", "100", "open(first, local)", "", "A", "done", "1.5")
    assert rows[4].texts() == (
        "4", "worker", "104", "hipStreamGetFlags(s)", "0x5647ec7885b0", "B",
        "709 hipErrorContextIsDestroyed", "1.5",
    )  # fmt: skip
    assert rows[4].style == "refused" and rows[5].style == "absent"
    assert rows[5].result == "not reached"


@pytest.mark.parametrize(
    ("fields", "text", "style"),
    [
        ({"values": (("flags", 1), ("", 0x7F70A8000C20))},
         "0 hipSuccess: flags = 1, 0x7f70a8000c20", "ok"),
        ({"made": 200}, "0 hipSuccess (200 made)", "ok"),
        ({"call": "hipRuntimeGetVersion", "values": (("", 50221151),)},
         "0 hipSuccess: 50221151", "ok"),
        ({"code": 1, "name": "device 1"}, "1 device 1", "ok"),
        ({"code": -1, "name": "not a live stream"}, "-1 not a live stream", "refused"),
        ({"code": 400, "name": "hipErrorInvalidHandle"}, "400 hipErrorInvalidHandle", "error"),
        ({"state": "unsupported"}, "no such call", "absent"),
        ({"state": "skipped", "error": "why"}, "not asked", "absent"),
        ({"state": "failed", "error": "no\nfile"}, "failed: no\\nfile", "error"),
        ({"state": "unfinished", "error": "killed"}, "did not return: killed", "fault"),
        ({"state": "unfinished"}, "did not return", "fault"),
    ],
)  # fmt: skip
def test_results_in_words(make, fields, text, style):
    # Which calls failed is the record's to say, not to be guessed from its code.
    told = make.trace(4, **{"failed": style in ("error", "refused", "fault"), **fields})
    row = trace.rows(make.result(trace=told))[4]
    assert (row.result, row.style) == (text, style)


def test_phases_are_told_apart(make):
    assert [(phase, len(rows)) for phase, rows in trace.phases(make.result())] == [
        ("setup", 3), ("fix", 1), ("use", 2),
    ]  # fmt: skip
    for width in (80, 200):
        text = shown(make.result(), make.target(), width)
        assert [line.strip() for line in text.splitlines() if line.strip().startswith("[")] == [
            "[setup]", "[fix]", "[use]",
        ]  # fmt: skip


def test_below_the_trace_stands_what_was_loaded_and_why_steps_were_left_out(make):
    skipped = make.trace(5, state="skipped", error="the handle was refused before")
    result = make.result(
        "error", step=4, code=709, trace=skipped, processes=3, message="last words",
        runtimes={"A": make.identity(7, build_id="ab12", namespace=1)},
    )  # fmt: skip
    assert trace.facts(result) == [
        "A = /lib/7/libamdhip64.so.6, build id ab12, device 08:01 inode 7, namespace 1",
        "not asked: the handle was refused before",
        "message: last words",
        "3 processes: a call that ended one was left out in the next, so that the rest could be"
        " asked",
    ]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_terminal_trace_keeps_within_its_width_and_loses_nothing(make, width):
    for result, _, _ in make.every_kind():
        text = shown(result, make.target(agent="software"), width)
        assert max(map(cell_len, text.splitlines())) <= width
        squeezed = "".join(text.split())
        for row in trace.rows(result):
            for entry in (row.actor, row.thread, row.call.split("(")[0], row.handle):
                assert entry in squeezed
            assert "".join(row.result.split())[:12] in squeezed


def test_plain_and_markdown_have_the_same_rows(make):
    result, target = make.error(), make.target(agent="software")
    (table,) = markdown_tables(trace.markdown(result, target))
    plain = trace.plain(result, target)
    lines = plain.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("---")) + 1
    for offset, row in enumerate(table[1:]):
        assert lines[first + offset].split() == " ".join(row).split()
    assert len(table) == 7
    assert plain.endswith(f"{STANDS_IN}\n")


def test_a_cell_that_did_not_run_has_a_heading_and_a_reason(make):
    absent = {"reason": "no stream is used", "trace": (), "runtimes": {}}
    text = trace.plain(make.result("n/a", **absent), make.target())
    assert text == (
        "second-runtime/none/driver: - (a second copy of the library, opened by its path)\n\n"
        "This combination does not apply: no stream is used.\n"
    )
    fixed = trace.plain(make.result("n/a", fix="set-device", **absent), make.target())
    assert fixed.endswith("The fix does not apply: no stream is used.\n")


def test_a_probe_shows_the_header_and_the_trace(make):
    report = make.report([make.error(fix="set-device")], target=make.target(agent="software"))
    text = trace.probe_text(report, 100)
    assert "/opt/rocm/lib/libamdhip64.so.6" in text
    assert "fix: set the device in the using thread" in " ".join(text.split())
    assert "709 hipErrorContextIsDestroyed" in text
    assert max(map(cell_len, text.splitlines())) <= 100


def test_a_trace_from_elsewhere_may_name_steps_that_the_cell_lacks(make):
    result = make.error()
    bare = msgspec.structs.replace(result, cell=msgspec.structs.replace(result.cell, steps=()))
    assert [row.call for row in trace.rows(bare)][4] == "hipStreamGetFlags"
    assert "refused" not in trace.plain(bare, make.target()).split("\n\n")[-1].split(".")[1]


def test_on_a_narrow_terminal_each_step_is_one_line_and_the_threads_stand_below(make):
    result, target = make.error(), make.target()
    lines = shown(result, target, width=110).splitlines()
    rows = [line for line in lines if line.lstrip()[:1].isdigit() and " hip" in line]
    assert rows and not [line for line in lines if line.strip().isdigit()]
    tids: dict[str, list[str]] = {}
    for record in result.outcome.trace:
        if record.tid:
            tids.setdefault(record.actor, []).append(str(record.tid))
    actors = [f"{actor} {', '.join(each)}" for actor, each in tids.items()]
    assert f"threads: {'; '.join(actors)}" in lines
    # With room for a column of its own it is not said twice.
    wide = shown(result, target, width=150)
    assert "threads: " not in wide and "thread" in wide


@pytest.mark.parametrize("width", [60, 80, 110])
def test_what_is_too_long_for_a_line_goes_on_further_in(make, width):
    lines = shown(make.error(), make.target(), width=width).splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("A ="))
    identity = [lines[place]]
    while lines[place + len(identity)].startswith("    "):
        identity.append(lines[place + len(identity)])
    assert lines[place + len(identity)].startswith("B =") or not lines[place + len(identity)]
    assert "namespace" in " ".join(identity)
