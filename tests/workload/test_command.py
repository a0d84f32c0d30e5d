"""``xdiag workload`` as users call it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdiag.workload.model import Report, read

if TYPE_CHECKING:
    from collections.abc import Callable

_QUICK = ("--quick", "--driver", "python")
Command = "Callable[..., subprocess.CompletedProcess[str]]"


def _environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "140", **more}


@pytest.fixture
def workload(tmp_path: Path, make_python: Callable[[str], Path]) -> Command:
    """Run the command over the stand-in for torch."""

    def run(*arguments: str, build: str = "cuda", **environ: str):
        return subprocess.run(
            [sys.executable, "-m", "xdiag", "workload", "--python", str(make_python(build)),
             *arguments],
            env=_environ(tmp_path, **environ), capture_output=True, text=True, timeout=100,
            stdin=subprocess.DEVNULL, cwd=tmp_path,
        )  # fmt: skip

    return run


def _report(path: Path) -> Report:
    return read(path.read_bytes(), path.name)


def test_one_measurement_many_files(workload: Command, tmp_path: Path) -> None:
    done = workload(
        *_QUICK, "-a", "baseline,single-*", "-o", "r.json", "-o", "r.svg", "-o", "r.md", "-o", "r"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "xdiag: 6 of 6: " in done.stderr
    report = _report(tmp_path / "r.json")
    assert report.command.endswith("-o r")
    assert len(report.runs) == 6 and not report.skips
    ElementTree.fromstring((tmp_path / "r.svg").read_text())
    assert (tmp_path / "r.md").read_text().startswith("# Workload\n")
    table = (tmp_path / "r").read_text()
    assert "on the GPU Fake GPU" in table
    again = subprocess.run(
        [sys.executable, "-m", "xdiag", "workload", "--from", "r.json"],
        capture_output=True, text=True, cwd=tmp_path, env=_environ(tmp_path),
    )  # fmt: skip
    assert (again.returncode, again.stdout) == (0, table)


def test_json_to_standard_output(workload: Command) -> None:
    done = workload(*_QUICK, "-a", "single-high", "--repeats", "1", "--json")
    assert done.returncode == 0
    report = read(done.stdout.encode(), "-")
    assert [run.repeat for run in report.runs] == [0]
    assert report.settings.network.name == "tiny"


def test_a_failed_run_is_a_fault_and_the_rest_is_shown(workload: Command, xsched: Path) -> None:
    done = workload(
        *_QUICK, "-a", "baseline,xsched", "--xsched", str(xsched), build="hip", FAKE_XSCHED="709"
    )
    assert done.returncode == 1
    assert "xsched under python: 2 runs exit status 1: [XSCHED ERRO] hip error 709" in done.stdout
    assert "\n baseline" in done.stdout


def test_nothing_that_could_be_run(workload: Command) -> None:
    done = workload(*_QUICK, "-a", "priority", "-o", "r.svg", build="cpu")
    assert done.returncode == 3
    assert "r.svg is not written: no run has latencies to draw" in done.stderr
    assert workload(*_QUICK, "-a", "priority", build="cpu").stdout.endswith(
        "skipped: priority: a CPU has no streams\n"
    )


def test_an_interrupted_one_keeps_what_is_finished(
    tmp_path: Path, make_python: Callable[[str], Path]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "xdiag", "workload", "--python", str(make_python("cuda")),
         *_QUICK, "-a", "single-high", "--repeats", "50", "-o", "r.json"],
        env=_environ(tmp_path), stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "2 of 50" in line:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    report = _report(tmp_path / "r.json")
    assert report.interrupted
    assert 2 <= len(report.runs) < 50
    assert all(run.ending == "ok" for run in report.runs)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--driver", "c++"], 2, "no driver 'c++'"),
        (["-a", "prority"], 2, "no arrangement matches 'prority'; did you mean priority?"),
        (["--rate", "0"], 2, "'--rate'"),
        (["--rate", "nan"], 2, "--rate nan is no number"),
        (["--seconds", "0"], 2, "'--seconds'"),
        (["--batch-low", "0"], 2, "'--batch-low'"),
        (["--device", "rocm"], 2, "'--device'"),
        (["-o", "no/such/dir/x.json"], 3, "cannot write no/such/dir/x.json"),
        (["--device", "hip"], 3, "was built for CUDA; name an interpreter whose torch was"),
        (["-a", "xsched", "--xsched", "/missing"], 2, "--xsched /missing: no such directory"),
        (["-a", ""], 2, "--arrangement '' names nothing: leave it out for all, or name some (s"),
        (
            ["--driver", ","],
            2,
            "--driver ',' names nothing: leave it out for all, or name some (pyth",
        ),
    ],
)
def test_mistakes_are_one_line(
    workload: Command, arguments: list[str], status: int, message: str
) -> None:
    done = workload(*_QUICK, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("xdiag: ") and message in last
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("missing", "no such directory; name the prefix that XSched was installed to"),
        ("file", "it is no directory; name the prefix that XSched was installed to"),
        ("empty", "neither it nor its lib directory has a libhal*.so that can be seen:"
                  " it is no installation of XSched"),
    ],
)  # fmt: skip
def test_a_wrong_xsched_is_one_line_before_anything_runs_on_a_cpu_too(
    workload: Command, tmp_path: Path, named: str, message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty" / "lib").mkdir(parents=True)
    done = workload(*_QUICK, "-a", "xsched", "--xsched", named, build="cpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"xdiag: --xsched {named}: {message}\n"


def test_a_python_without_torch_is_one_line(workload: Command) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "workload", "--python", "/no/such/python"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "xdiag: /no/such/python: no such file\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["r.json", "--seconds", "3"],
            "--from shows what was measured before: leave --seconds out",
        ),
        (["missing.json"], "cannot read missing.json: No such file or directory"),
        (["."], "cannot read .: Is a directory"),
        (["r.json"], "r.json is not a report of xdiag workload: Object missing required field"),
    ],
)
def test_mistakes_about_a_saved_report(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "r.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "workload", "--from", *arguments],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"xdiag: {message}") and done.stderr.count("\n") == 1
