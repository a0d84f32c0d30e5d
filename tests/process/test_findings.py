"""What is said of a process: one fault for one cause, and who has to change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from runtimes.conftest import compile_library

from process.conftest import HIP, USES, Opener, compile_program
from xdiag.doctor.runtimes_in_process import CHECKS, Inspection, inspect
from xdiag.findings import Finding, Status
from xdiag.process.look import look

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


def _by_id(inspection: Inspection) -> dict[str, Finding]:
    found = {finding.check: finding for finding in inspection.findings}
    assert list(found) == [check.id for check in CHECKS]
    return found


def _of(opener: Opener) -> dict[str, Finding]:
    return _by_id(inspect(look(opener.pid)))


def _one(opener: Opener) -> Finding:
    return _of(opener)["process.one-runtime"]


def test_nothing_loaded_and_one_loaded(start: Start, runtime: Runtime) -> None:
    real = runtime("a/libamdhip64.so.6")
    opener = start()
    finding = _one(opener)
    assert (finding.status, finding.summary) == (Status.PASS, "no HIP runtime is loaded now")
    opener.tell(f"open {real}")
    finding = _one(opener)
    assert (finding.status, finding.summary) == (
        Status.PASS, f"one HIP runtime is loaded: {real}",
    )  # fmt: skip
    assert {each.status for each in _of(opener).values()} == {Status.PASS}


def test_two_are_a_fault_that_names_both_and_who_brought_them(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    needed, opened = runtime("torch/lib/libamdhip64.so"), runtime("rocm/lib/libamdhip64.so.6")
    torch = compile_library(
        tmp_path / "torch/lib/libtorch_hip.so", USES % "it", str(needed), "-Wl,-rpath,$ORIGIN"
    )
    needed.rename(needed.with_name("libamdhip64.so.6"))
    needed = needed.with_name("libamdhip64.so.6")
    finding = _one(start(f"open {opened}", f"open {runtime('x/plugin.so')}"))
    assert finding.status is Status.FAIL
    finding = _one(start(f"open {torch}", f"open {opened}"))
    assert finding.status is Status.FAIL
    assert finding.summary == (
        f"two copies of libamdhip64 are loaded: A = {needed} (needed by libtorch_hip.so) and"
        f" B = {opened} (opened at run time)"
    )
    status = opened.stat()
    device = f"device {os.major(status.st_dev)}:{os.minor(status.st_dev)} inode {status.st_ino}"
    evidence = "\n".join(finding.evidence)
    assert f"B: {device}, SONAME libamdhip64.so.6" in evidence
    assert "loaded first" in finding.evidence[0] and "all have the same build id" in evidence
    assert "HIP up to 6.4 refuses the other copy's with error 709" in evidence
    assert "HIP 7" not in evidence
    assert finding.remedy[0].startswith("keep A (needed by libtorch_hip.so)")
    assert f"has to open {needed}" in finding.remedy[1]


def test_the_frameworks_copy_is_kept_whichever_came_first(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    opened, needed = runtime("rocm/libamdhip64.so.6"), runtime("torch/lib/libamdhip64.so")
    by_another_name = compile_library(tmp_path / "link/libamdhip64.so", HIP)
    torch = compile_library(
        needed.parent / "libtorch_hip.so", USES % "it", str(by_another_name),
        "-Wl,-rpath,$ORIGIN",
    )  # fmt: skip
    finding = _one(start(f"open {opened}", f"open {torch}"))
    assert f"A = {opened}" in finding.summary and f"B = {needed}" in finding.summary
    assert finding.remedy[0].startswith("keep B (needed by libtorch_hip.so)")


def test_with_xsched_its_variable_is_the_remedy(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    kept, opened = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    hal = compile_library(tmp_path / "libhalhip.so", 'const char *name = "libamdhip64.so";')
    finding = _one(start(f"open {kept}", f"open {hal}", f"open {opened}"))
    assert f"B: if XSched opened it, start the program with XSCHED_HIP_LIB={kept}" in finding.remedy
    assert any("possible opener" in line and str(hal) in line for line in finding.evidence)


def test_on_hip_7_calls_seem_to_succeed(start: Start, tmp_path: Path) -> None:
    files = [
        compile_library(tmp_path / place / "libamdhip64.so.7", HIP) for place in ("a", "b")
    ]  # fmt: skip
    evidence = "\n".join(_one(start(*(f"open {file}" for file in files))).evidence)
    assert "they seem to succeed" in evidence and "709" not in evidence


def test_two_major_versions_cannot_stand_in_for_each_other(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    six = runtime("a/libamdhip64.so.6")
    five = compile_library(tmp_path / "b/libamdhip64.so.5", HIP)
    finding = _one(start(f"open {six}", f"open {five}"))
    assert "they are of different major versions: 5, 6" in finding.evidence
    assert "HIP 5 and 6 cannot stand in for each other" in finding.remedy[1]


def test_a_linked_importer_is_told_where_to_look(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    kept, other = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so")
    between = compile_library(
        tmp_path / "a/libbetween.so", USES % "it", str(kept), "-Wl,-rpath,$ORIGIN"
    )
    program = compile_program(
        tmp_path / "program", "-Wl,--no-as-needed", str(between), f"-Wl,-rpath,{tmp_path}/a"
    )
    by_another_name = compile_library(tmp_path / "link/libamdhip64.so", HIP)
    user = compile_library(
        tmp_path / "b/libuser.so", USES % "it", str(by_another_name), "-Wl,-rpath,$ORIGIN"
    )
    finding = _one(start(f"open {user}", program=program))
    assert f"B = {other} (needed by libuser.so)" in finding.summary
    assert finding.remedy[1].startswith(f"B: let {user} find {kept}")
    assert f"patchelf --set-rpath {tmp_path}/a" in finding.remedy[1]


def test_preloaded_and_in_another_namespace(start: Start, runtime: Runtime) -> None:
    kept, other = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    finding = _one(start(f"new {kept}", env={**os.environ, "LD_PRELOAD": f"{kept}:{other}"}))
    assert "in two namespaces (dlmopen)" in "\n".join(finding.evidence)
    assert f"B: take {other} out of LD_PRELOAD" in finding.remedy
    assert "C: whoever calls dlmopen has to open it with dlopen" in finding.remedy


def test_look_alikes_are_told_and_not_counted(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    shim = compile_library(tmp_path / "libamdhip64.so.1", HIP, "-Wl,-soname,libshimhip.so")
    finding = _one(start(f"open {runtime('a/libamdhip64.so.6')}", f"open {shim}"))
    assert finding.status is Status.PASS
    assert f"not counted: {shim}" in finding.evidence[-1]


def test_two_libraries_below_are_a_risk(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    for name in ("libhsa-runtime64.so.1", "libamd_comgr.so.2", "librccl.so.1", "libhiprtc.so.6"):
        files = [
            compile_library(tmp_path / name / place / name, "int f(void) { return 1; }")
            for place in ("a", "b")
        ]
        found = _of(start(*(f"open {file}" for file in files)))
        finding = found["process.support-libraries"]
        assert finding.status is Status.WARN
        assert f"two copies of {name.partition('.')[0]} are loaded" in finding.summary
        assert found["process.one-runtime"].status is Status.PASS


def test_the_cache_before_amds_compiler_is_no_second_one(start: Start, tmp_path: Path) -> None:
    source = "int f(void) { return 1; }"
    ours = compile_library(tmp_path / "xdiag/_lib/kernel-cache/libamd_comgr.so.2", source)
    theirs = compile_library(tmp_path / "lib/libamd_comgr.so.2", source)
    found = _of(start(f"open {ours}", f"open {theirs}"))
    assert found["process.support-libraries"].status is Status.PASS


def test_replaced_and_removed_files(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    real, other = runtime("a/libamdhip64.so.6"), runtime("new")
    opener = start(f"open {real}")
    inode = real.stat().st_ino
    os.replace(other, real)
    found = _of(opener)
    finding = found["process.replaced-files"]
    assert finding.status is Status.WARN
    assert f"inode {inode}; another file is there now" in finding.evidence[0]
    assert found["process.one-runtime"].status is Status.PASS
    real.unlink()
    assert "nothing is there now" in _of(opener)["process.replaced-files"].evidence[0]
    # Any other library's matters less.
    plain = compile_library(tmp_path / "libplain.so", "int f(void) { return 1; }")
    opener = start(f"open {plain}")
    plain.unlink()
    finding = _of(opener)["process.replaced-files"]
    assert finding.status is Status.PASS and "1 other" in finding.summary


def test_an_inspection_survives_json(start: Start, runtime: Runtime) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    before = inspect(look(start(f"open {a}", f"open {b}").pid))
    text = msgspec.json.encode(before)
    assert msgspec.json.decode(text, type=Inspection) == before
    assert before.fault
