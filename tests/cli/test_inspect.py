"""xdiag inspect as users call it: a number, a core file, all of them, and watching."""

# ruff: noqa: F401, F811 - fixtures of the processes are taken from their tests

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from process import cores
from process.conftest import Opener, built, program, runtime, start

from xdiag.doctor.runtimes_in_process import Inspection, Sighting, Survey

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]
Xdiag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def inspect(home: dict[str, str]) -> Xdiag:
    """Run ``xdiag inspect``."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xdiag", "inspect", *map(str, arguments)], env=home,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip

    return run


@pytest.fixture
def two(start: Start, runtime: Runtime) -> Opener:
    """A process with two copies."""
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    return start(f"open {a}", f"open {b}")


def test_two_runtimes_are_a_fault(two: Opener, inspect: Xdiag, tmp_path: Path) -> None:
    done = inspect(two.pid)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"process {two.pid}: ")
    shown = " ".join(done.stdout.split())
    assert "FAIL process.one-runtime two copies of libamdhip64 are loaded: A = " in shown
    assert f"B = {tmp_path}/b/libamdhip64.so.6" in shown
    assert "do: keep A" in shown
    for place in ("a", "b"):
        assert str((tmp_path / place / "libamdhip64.so.6").stat().st_ino) in done.stdout


def test_one_runtime_is_none(start: Start, runtime: Runtime, inspect: Xdiag) -> None:
    real = runtime("a/libamdhip64.so.6")
    done = inspect(start(f"open {real}").pid)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PASS  process.one-runtime  one HIP runtime is loaded" in done.stdout
    assert "SONAME" not in done.stdout
    more = inspect(start(f"open {real}").pid, "-v").stdout
    assert "SONAME libamdhip64.so.6" in " ".join(more.split())


def test_json_reads_back(two: Opener, inspect: Xdiag, tmp_path: Path) -> None:
    done = inspect(two.pid, "--json")
    assert done.returncode == 1
    read = msgspec.json.decode(done.stdout, type=Inspection)
    assert read.schema_version == 1 and read.process.pid == two.pid and read.fault
    assert [copy.object.order is not None for copy in read.process.copies] == [True, True]
    target = tmp_path / "report.json"
    assert inspect(two.pid, "--json", "-o", target).returncode == 1
    assert msgspec.json.decode(target.read_bytes(), type=Inspection).findings == read.findings


def test_names_that_are_no_text(
    start: Start,
    runtime: Runtime,
    inspect: Xdiag,
) -> None:
    real = runtime("\udcff\x1b[31m/libamdhip64.so.6")
    opener = start(f"open {real}")
    shown, written = inspect(opener.pid), inspect(opener.pid, "--json")
    assert shown.returncode == written.returncode == 0
    assert "\x1b" not in shown.stdout and "\\x1b[31m" in shown.stdout
    read = msgspec.json.decode(written.stdout, type=Inspection)
    assert "\\udcff" in read.process.copies[0].object.path


def test_a_core_file(two: Opener, inspect: Xdiag, tmp_path: Path) -> None:
    path = cores.written(tmp_path / "core.7", two.pid)
    done = inspect(path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"core file of process {two.pid}: ")
    assert "made by SIGSEGV" in done.stdout and "inode" not in done.stdout.split("FAIL")[1]
    read = msgspec.json.decode(inspect(path, "--json").stdout, type=Inspection)
    assert read.process.core == str(path) and len(read.process.copies) == 2


def test_all_processes(
    two: Opener,
    start: Start,
    runtime: Runtime,
    inspect: Xdiag,
) -> None:
    one = start(f"open {runtime('c/libamdhip64.so.6')}")
    done = inspect("--all")
    assert done.returncode == 1
    assert f"process {two.pid}: " in done.stdout and f"process {one.pid}: " in done.stdout
    assert " looked at: " in done.stdout.splitlines()[-1] + done.stdout.splitlines()[-2]
    read = msgspec.json.decode(inspect("--all", "--json").stdout, type=Survey)
    faults = {each.process.pid: each.fault for each in read.inspections}
    assert faults[two.pid] and not faults[one.pid]
    assert read.looked_at >= len(read.inspections)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "which process? give its number, a core file, or --all"),
        (["--all", "1"], 2, "--all goes neither with a process nor with --watch"),
        (["--all", "--watch"], 2, "--all goes neither"),
        (["--watch", "core"], 2, "--watch needs the number of a process"),
        (["1", "--watch", "soon"], 2, "--watch takes a number of seconds, not 'soon'"),
        (["1", "--watch", "nan"], 2, "--watch: from 0.001 to 86400 seconds"),
        (["1", "--watch", "-o", "x"], 2, "--watch writes to standard output"),
        ([""], 2, "an empty name"),
        (["none-such"], 2, "neither the number of a process nor a core file that exists"),
        (["/bin/sh"], 2, "no core file"),
        (["99999999999999999999"], 3, "there is no process"),
        (["4194305"], 3, "there is no process 4194305 here"),
        (["1", "2"], 2, "unexpected extra argument"),
    ],
)
def test_wrong_usage_in_one_line(
    inspect: Xdiag, arguments: list[str], status: int, says: str
) -> None:
    done = inspect(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.startswith("xdiag: ") and done.stderr.count("\n") == 1


# ---- watching --------------------------------------------------------------------------------


def _watching(home: dict[str, str], *arguments: object, **options: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "xdiag", "inspect", *map(str, arguments)], env=home,
        stderr=subprocess.PIPE, text=True, **{"stdout": subprocess.PIPE, **options},
    )  # fmt: skip


def test_watching_tells_each_change_at_once_and_ends_with_the_process(
    home: dict[str, str],
    start: Start,
    runtime: Runtime,
) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start()
    # The number may stand behind --watch, as people write it.
    with _watching(home, "--watch", opener.pid) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        assert watching.stdout.readline().endswith("no GPU runtime is loaded yet\n")
        opener.tell(f"open {a}")
        assert f"+ libamdhip64 6  {a}" in watching.stdout.readline()
        opener.tell(f"open {b}")
        assert f"+ libamdhip64 6  {b}" in watching.stdout.readline()
        assert watching.stdout.readline().startswith("FAIL  process.one-runtime")
        opener.tell("close")
        opener.end()
        rest = watching.stdout.read()
        assert rest.endswith("the process has ended\n")
        assert watching.wait(20) == 1
        assert watching.stderr.read() == ""


def test_watching_without_a_fault(
    home: dict[str, str],
    start: Start,
    runtime: Runtime,
) -> None:
    opener = start(f"open {runtime('a/libamdhip64.so.6')}")
    with _watching(home, opener.pid, "--watch", "0.05") as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        opener.end()
        assert watching.wait(20) == 0


def test_watching_in_json_is_a_document_a_line(
    home: dict[str, str],
    start: Start,
    runtime: Runtime,
) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {a}")
    with _watching(home, opener.pid, "--watch=0.05", "--json") as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        opener.tell(f"open {b}")
        second = watching.stdout.readline()
        opener.end()
        (last,) = watching.stdout.read().splitlines()
        assert watching.wait(20) == 1
    sightings = [msgspec.json.decode(line, type=Sighting) for line in (first, second, last)]
    assert [each.change.event for each in sightings] == ["start", "change", "end"]
    assert sightings[0].inspection is None
    assert sightings[1].inspection is not None and sightings[1].inspection.fault
    assert json.loads(first)["schema_version"] == 1


def test_ctrl_c_on_a_terminal(
    home: dict[str, str],
    start: Start,
    runtime: Runtime,
) -> None:
    import fcntl
    import termios

    real = runtime("a/libamdhip64.so.6")
    opener = start(f"open {real}")
    leader, follower = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "xdiag", "inspect", str(opener.pid), "--watch"],
        env=home, stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    screen, typed, deadline = b"", False, time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        screen += data
        if b"+ libamdhip64" in screen and not typed:
            os.write(leader, b"\x03")
            typed = True
    os.close(leader)
    assert watching.wait(20) == 130
    assert screen.decode().replace("\r", "").endswith("xdiag: interrupted\n")
    assert b"Traceback" not in screen
    os.kill(opener.pid, signal.SIGCONT)  # it is there, and as it was
    assert "State:\tS" in Path(f"/proc/{opener.pid}/status").read_text()


def test_a_reader_that_goes_away(
    home: dict[str, str],
    start: Start,
    runtime: Runtime,
) -> None:
    opener = start()
    with _watching(home, opener.pid, "--watch", "0.05") as watching:
        assert watching.stdout is not None and watching.stderr is not None
        watching.stdout.readline()
        watching.stdout.close()
        opener.tell(f"open {runtime('a/libamdhip64.so.6')}")
        assert watching.wait(20) == 0
        assert watching.stderr.read() == ""


def test_a_watch_ends_when_nobody_reads_on(home: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as quiet:
        try:
            line = f"{sys.executable} -m xdiag inspect {quiet.pid} --watch 0.1 | head -n 1"
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", line], env=home, capture_output=True, text=True,
                timeout=20, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.count("\n") == 1
        finally:
            quiet.kill()
