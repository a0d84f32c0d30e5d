"""A record's report: one line where all is well, the whole story where not."""

from __future__ import annotations

import msgspec
import pytest
from rich.console import Console

from recording.writer import Written
from xdiag.findings import Status
from xdiag.recording.layout import Answer
from xdiag.recording.provenance import Diagnosis, diagnose, story
from xdiag.recording.read import read
from xdiag.recording.report import Report
from xdiag.render import json_document
from xdiag.render.recording import document, finding, show_report, show_story
from xdiag.render.terminal import printed

A, B = "/torch/lib/libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so.6"
STREAM = 0x7F12_8765_4320


def _shown(written: Written, *, brief: bool = True, width: int = 100) -> str:
    with read(written.path) as recording:
        diagnoses = diagnose(recording)
        return printed(
            lambda console: show_report(recording, diagnoses, console, brief=brief), width
        )


@pytest.fixture
def crossed(written: Written) -> Written:
    """A stream of torch's copy, given to the copy that XSched opened."""
    process = written.process(100)
    hip = process.opened("/torch/lib/libtorch_hip.so", base=0x5000_0000, end=0x6000_0000)
    hal = process.opened("/xsched/libhalhip.so", base=0x7000_0000, end=0x8000_0000)
    process.asked("libamdhip64.so.6", 3, hip)
    process.asked(A, 3.1, hip, rule=4)
    a = process.runtime(A, 4)
    process.asked(B, 6, hal)
    b = process.runtime(B, 7)
    main, worker = process.thread(), process.thread(101, 20)
    main.make(a, STREAM, 10, caller=0x5000_1000)
    worker.use(b, STREAM, 30, result=709, caller=0x7000_1000)
    process.ended(40)
    return written


def test_all_is_well_in_one_line(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    process.thread().use(a, 0, 10)
    assert _shown(written) == f"one HIP runtime, {A}; nothing wrong in 1 call\n"
    written.set(calls_overwritten=4)
    assert _shown(written, width=200) == (
        f"one HIP runtime, {A}; nothing wrong in 5 calls, of which 4 are lost with threads that"
        " have ended\n"
    )


def test_no_runtime_at_all(written: Written) -> None:
    written.process(100)
    told = "in the 1 process that was seen (python3)"
    assert _shown(written) == f"no HIP runtime was loaded {told}\n"
    full = _shown(written, brief=False).splitlines()
    assert full[0] == "record of python3 serve.py"
    assert (
        f"no HIP runtime was loaded or asked for {told}" in full
        and "nothing wrong was seen" in full
    )


def test_a_record_that_no_process_wrote_into(written: Written) -> None:
    told = (
        "nothing was seen: the program ran without the audit library (something cleared LD_AUDIT?)"
    )
    assert _shown(written) == f"{told}\n"
    assert told in _shown(written, brief=False).splitlines()


def test_several_processes_with_one_each(written: Written) -> None:
    for number in range(3):
        process = written.process(100 + number, number)
        process.thread(at=5).use(process.runtime(A, 1 + number), 0, 10)
    assert _shown(written) == (
        f"one HIP runtime in each of 3 processes, {A}; nothing wrong in 3 calls\n"
    )


def test_the_whole_story(crossed: Written) -> None:
    lines = _shown(crossed, width=200).splitlines()
    assert lines == [
        "2 HIP runtimes in process 100 (python3): python3 serve.py",
        f"  A  {A}  libamdhip64.so.6, build id abababababab",
        f"     libtorch_hip.so asked for libamdhip64.so.6: {A} by RPATH or RUNPATH",
        f"  B  {B}  libamdhip64.so.6, build id abababababab",
        f"     libhalhip.so asked for {B}",
        "",
        f"FAIL  two-runtimes  stream {STREAM:#x} was made by A ({A}) and given to B ({B})",
        "      +0.010000 s  made: hipStreamCreateWithFlags on A, thread 100 (main), called from"
        " libtorch_hip.so",
        "      +0.030000 s  refused: hipStreamGetFlags on B returned 709"
        " hipErrorContextIsDestroyed, thread 101, called from libhalhip.so",
        "      1 call with 1 such handle: 1 failed (hipStreamGetFlags)",
        f"      do: make every party open {A} (for XSched: XSCHED_HIP_LIB={A}),",
        "          or start the program with: xdiag run -- COMMAND",
        "2 calls seen, 2 kept, 1 failed (1 with 709)",
    ]


def test_a_console_that_folds_nothing_shows_all_the_same(crossed: Written) -> None:
    import io

    told = io.StringIO()
    console = Console(file=told, width=60, soft_wrap=True)
    with read(crossed.path) as recording:
        show_report(recording, diagnose(recording), console, brief=True)
    assert "called from libhalhip.so" in " ".join(told.getvalue().split())
    assert console.soft_wrap


def test_what_was_redirected_is_told_where_nothing_is_wrong(written: Written) -> None:
    process = written.process(100)
    hal = process.opened("/xsched/libhalhip.so")
    a = process.runtime(A, 2)
    process.asked(B, 3, hal, answer=Answer.REDIRECTED, to=A)
    process.asked("/old/libamdhip64.so.5", 4, hal, answer=Answer.OTHER_SONAME, why="it is older")
    process.thread().use(a, 0, 10)
    shown = " ".join(_shown(written).split())
    assert f"libhalhip.so asked for {B}: redirected to {A}" in shown
    assert "not redirected: another major version (it is older)" in shown
    assert "nothing wrong was seen" in shown


def test_processes_alike_are_told_once(written: Written) -> None:
    for number in range(8):
        process = written.process(100 + number, number)
        process.runtime(A, number)
        process.runtime(B, number)
    shown = _shown(written)
    assert shown.count("2 HIP runtimes in process") == 1
    assert "2 HIP runtimes in process 100 (python3), and in 7 processes more" in shown
    assert "process 100 (python3), and 7 more alike had 2 copies" in shown


def test_what_is_missing_is_said(crossed: Written) -> None:
    crossed.set(threads_without_block=3, events_lost=5, runtimes_not_wrapped=1, calls_overwritten=7)
    shown = _shown(crossed)
    assert "7 calls of threads that have ended are lost: their places went on" in " ".join(
        shown.split()
    )
    assert "3 threads had no place in the record" in shown
    assert "5 loads or requests are missing" in shown
    assert "the calls of 1 copy of the runtime were not recorded" in shown
    assert "(not proved by the record)" in " ".join(shown.split())


def test_names_that_a_terminal_would_obey(written: Written) -> None:
    process = written.process(100, exe="/\x1b[31m", command="a\x1b]0;b\0\udcff\0")
    name = "/\x1b[31m\udcff/libamdhip64.so.6"
    a = process.runtime(name)
    process.runtime("/\n/libamdhip64.so.6")
    process.asked("x\x1b", 3, answer=Answer.FILE_REPLACED, why="\x1b[0m")
    process.thread().use(a, STREAM, 10, result=709)
    for brief in (True, False):
        shown = _shown(written, brief=brief)
        assert "\x1b" not in shown and "\udcff" not in shown and "\\x1b[31m" in shown
    with read(written.path) as recording:
        told = json_document.record(document(recording, diagnose(recording)))
    assert msgspec.json.decode(told, type=Report).record.processes[0].runtimes


def test_the_document_reads_back(crossed: Written) -> None:
    with read(crossed.path) as recording:
        diagnoses = diagnose(recording)
        made = document(recording, diagnoses, story(recording, STREAM))
    text = json_document.record(made)
    again = msgspec.json.decode(text, type=Report)
    assert again == made and again.fault and again.schema_version == 1
    assert '"schema_version": 1' in text
    assert again.diagnoses == diagnoses
    # Objects that have nothing to do with it are left out; who asked and who called is there.
    (process,) = again.record.processes
    assert [each.path for each in process.objects] == [
        "/torch/lib/libtorch_hip.so", "/xsched/libhalhip.so", A, B,
    ]  # fmt: skip
    assert again.story is not None and len(again.story.steps) == 2


def test_a_story_on_the_terminal(crossed: Written) -> None:
    with read(crossed.path) as recording:
        told = story(recording, STREAM)
    shown = printed(lambda console: show_story(told, console), 200)
    assert shown.splitlines()[0] == f"handle {STREAM:#x}"
    assert "made: hipStreamCreateWithFlags on A" in shown and "refused: " in shown


def test_words_of_findings() -> None:
    sure = Diagnosis("two-runtimes", "it is so", evidence=("seen",), remedy=("do",))
    assert finding(sure).status is Status.FAIL and finding(sure).summary == "it is so"
    unsure = Diagnosis("unknown-handle", "it may be so", certain=False)
    assert finding(unsure).summary == "it may be so (not proved by the record)"
    note = Diagnosis("other-error", "by the way", fault=False, certain=False)
    assert finding(note).status is Status.WARN and finding(note).summary == "by the way"
