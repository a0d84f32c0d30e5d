"""Bad input: one clear line, the right exit code, no traceback, no half-written file."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]

MATRIX = ["matrix", "-p", "same-thread", "-f", "none"]


def _one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.rstrip("\n").split("\n")
    assert line.startswith("xdiag: ")
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "--pattern", "cros-thread"], ["'cros-thread'", "did you mean cross-thread"]),
        (["probe", "--pattern", "zzz"], ["'zzz'", "xdiag patterns lists them"]),
        (["probe", "-p", "same-thread", "--fix", "setdevice"], ["did you mean set-device"]),
        (["probe", "-p", "same-thread", "-c", "drive"], ["did you mean driver"]),
        (["probe"], ["--pattern"]),
        (["matrix", "--patterns", "secnd*"], ["no pattern matches 'secnd*'"]),
        (["matrix", "--fixes", "recreate"], ["did you mean recreate-stream"]),
        (["matrix", "--format", "jsn"], ["did you mean json"]),
        (["matrix", "-j", "0"], ["0"]),
        ([*MATRIX, "--timeout", "-1"], ["more than 0"]),
        ([*MATRIX, "--timeout", "nan"], ["more than 0"]),
        ([*MATRIX, "--timeout", "soon"], ["soon"]),
        (["patterns", "cross"], ["no pattern 'cross'"]),
        (["matrx"], ["no command 'matrx'; did you mean matrix"]),
        (["matrix", "--journal", "a", "--resume", "b"], ["--resume"]),
        (["matrix", "--resume", "/nowhere/j"], ["cannot read the journal /nowhere/j"]),
        (["runtimes", "add", "libfoo"], ["'libfoo'"]),
    ],
    ids=" ".join,
)
def test_wrong_usage(xdiag: Xdiag, arguments: list[str], words: list[str]) -> None:
    _one_line(xdiag(*arguments, fake=False), 2, *words)


def _elf(path: Path, change: Callable[[bytearray], None], source: Path) -> Path:
    data = bytearray(source.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


def _class32(data: bytearray) -> None:
    data[4] = 1


def _arm(data: bytearray) -> None:
    data[18:20] = struct.pack("<H", 183)


def _cut(data: bytearray) -> None:
    del data[1000:]


@pytest.mark.parametrize(
    ("change", "words"), [(_class32, ["32-bit"]), (_arm, ["AArch64"]), (_cut, [""])]
)
def test_a_damaged_or_foreign_library(
    xdiag: Xdiag,
    tmp_path: Path,
    fake_library: Path,
    change: Callable[[bytearray], None],
    words: list[str],
) -> None:
    path = _elf(tmp_path / "libamdhip64.so.5", change, fake_library)
    done = xdiag(*MATRIX, "--runtime", str(path), fake=False)
    assert done.returncode in (2, 3)
    _one_line(done, done.returncode, str(path), *words)


@pytest.mark.parametrize("what", ["missing", "directory", "text", "libc"])
def test_what_is_no_hip_runtime(xdiag: Xdiag, tmp_path: Path, what: str) -> None:
    path = tmp_path / "lib.so"
    words = {"missing": "no", "directory": "directory", "text": "ELF", "libc": "hipInit"}[what]
    if what == "directory":
        path.mkdir()
    elif what == "text":
        path.write_text("hello")
    elif what == "libc":
        import ctypes.util

        name = ctypes.util.find_library("m")
        found = next(
            p for p in (Path(d) / str(name) for d in ("/lib/x86_64-linux-gnu", "/usr/lib64"))
            if p.exists()
        )  # fmt: skip
        shutil.copy(found, path)
    done = xdiag(*MATRIX, "--runtime", str(path), fake=False)
    assert done.returncode in (2, 3)
    _one_line(done, done.returncode, str(path), words)


def test_an_unreadable_library(xdiag: Xdiag, tmp_path: Path, fake_library: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read everything")
    path = tmp_path / "libamdhip64.so"
    shutil.copy(fake_library, path)
    path.chmod(0)
    _one_line(xdiag(*MATRIX, "--runtime", str(path), fake=False), 3, "ermission")


@pytest.mark.parametrize("option", ["--output", "--journal"])
def test_an_unwritable_place_is_said_before_anything_runs(
    xdiag: Xdiag, tmp_path: Path, option: str
) -> None:
    done = xdiag(*MATRIX, option, str(tmp_path / "no" / "file"))
    _one_line(done, 3, "cannot write", str(tmp_path / "no" / "file"))


def test_an_output_that_cannot_be_written_leaves_the_old_file(xdiag: Xdiag, tmp_path: Path) -> None:
    path = tmp_path / "dir"
    path.mkdir()
    _one_line(xdiag(*MATRIX, "-o", str(path)), 3, "is a directory")
    old = tmp_path / "report"
    old.write_text("old")
    done = xdiag("matrix", "-p", "nonsense", "-o", str(old))
    assert (done.returncode, old.read_text()) == (2, "old")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".report")) == []


def test_a_full_disk_loses_no_old_report(xdiag: Xdiag) -> None:
    done = xdiag(*MATRIX, "-o", "/dev/full")
    _one_line(done, 3, "/dev/full", "No space left")


def test_odd_places_for_the_output(xdiag: Xdiag, tmp_path: Path) -> None:
    to_stdout = xdiag(*MATRIX, "-o", "-", "--format", "csv")
    assert to_stdout.returncode == 0 and to_stdout.stdout.startswith("pattern,fix")
    _one_line(xdiag(*MATRIX, "-o", ""), 2, "-o needs a file")
    assert xdiag(*MATRIX, "-o", "/dev/null").returncode == 0
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert xdiag(*MATRIX, "-o", str(link)).returncode == 0
    # Through the link, in the format of the ending, with the permissions that the file had.
    assert link.is_symlink() and real.read_text().startswith("pattern,fix")
    assert real.stat().st_mode & 0o777 == 0o640
    same = str(tmp_path / "both")
    _one_line(xdiag(*MATRIX, "-o", same, "--journal", same), 2, "cannot be one file")


@pytest.mark.parametrize("command", [["patterns", "--json"], ["--help"], [*MATRIX]], ids=str)
def test_a_full_or_closed_standard_output(
    home: dict[str, str], fake_library: Path, command: list[str]
) -> None:
    runtime = ["--runtime", str(fake_library), "--agent", "software"] if "matrix" in command else []
    run = [sys.executable, "-m", "xdiag", *command, *runtime]
    with open("/dev/full", "w") as full:
        done = subprocess.run(run, env=home, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1 and "No space left" in done.stderr
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *run], env=home, stderr=subprocess.PIPE, text=True
    )
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full", "/proc"])
def test_a_journal_that_is_no_file(xdiag: Xdiag, path: str) -> None:
    _one_line(xdiag("matrix", "--resume", path, fake=False), 2, "no regular file")


def test_results_survive_an_output_that_fails(xdiag: Xdiag, home: dict[str, str]) -> None:
    done = xdiag(*MATRIX, "-o", "/dev/full")
    _one_line(done, 3, "the results are kept", "--resume")
    (journal,) = (Path(home["XDG_STATE_HOME"]) / "xdiag").iterdir()
    assert str(journal) in done.stderr
    assert xdiag(*MATRIX, "--resume", str(journal)).returncode == 0


def test_a_file_size_limit_is_one_line(home: dict[str, str], fake_library: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-m", "xdiag", *MATRIX,
         "--runtime", str(fake_library), "--agent", "software"],
        env=home, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


def test_a_runtime_that_does_not_answer_is_one_line(xdiag: Xdiag) -> None:
    done = xdiag(*MATRIX, fault="hipInit=segv")
    _one_line(done, 3, "SIGSEGV")


def test_debug_shows_the_traceback(xdiag: Xdiag) -> None:
    done = xdiag("--debug", "patterns", "zzz", fake=False)
    assert done.returncode != 0 and "Traceback" in done.stderr


def test_an_installation_without_native_parts_says_so(tmp_path: Path) -> None:
    import xdiag as package

    shutil.copytree(
        Path(package.__file__).parent, tmp_path / "xdiag",
        ignore=shutil.ignore_patterns("_native*", "_lib", "__pycache__"),
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-S", "-c",
         f"import sys; sys.path[:0] = [{str(tmp_path)!r}, *{sys.path!r}];"
         "from xdiag.cli import main; main(['matrix'])"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "native" in done.stderr
