"""What each command prints and how it exits."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import msgspec
import pytest

from xdiag import __version__
from xdiag.cli import COMMANDS
from xdiag.model import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_every_command_and_the_exit_codes(xdiag: Xdiag) -> None:
    done = xdiag("--help", fake=False)
    assert done.returncode == 0 and done.stderr == ""
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert "Exit codes: 0 nothing wrong found" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_begins_like_its_line(xdiag: Xdiag, command: str) -> None:
    done = xdiag(command, "--help", fake=False)
    assert done.returncode == 0 and "Usage: xdiag" in done.stdout
    assert len(done.stdout.splitlines()) > 5


def test_the_version_is_the_packages(xdiag: Xdiag) -> None:
    assert xdiag("--version", fake=False).stdout == f"xdiag {__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom xdiag.cli import _run\n_run(['--help'], ['--help'], debug=False)\n"
        "heavy = {'torch', 'rich', 'msgspec', 'cffi', 'psutil', 'jinja2', 'tabulate', 'elftools'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_a_probe_shows_the_steps_and_what_they_mean(xdiag: Xdiag) -> None:
    done = xdiag("probe", "--pattern", "second-runtime", "--consumer", "replay")
    assert done.returncode == 1 and done.stderr == ""
    line = next(x for x in done.stdout.splitlines() if "709 hipErrorContextIsDestroyed" in x)
    assert "worker" in line and "hipStreamGetFlags(s)" in line and " B " in line
    assert "Two copies of the library are loaded" in done.stdout
    assert "software agent" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--pattern", "cross-thread"], 0),
        (["--pattern", "cross-thread", "--actor", "native"], 0),
        (["--pattern", "second-runtime", "--fix", "bind-loaded-runtime"], 0),
        (["--pattern", "destroyed-stream"], 1),
        (["--pattern", "same-thread", "--fix", "native-thread"], 2),
    ],
    ids=str,
)
def test_a_probes_exit_code_says_whether_the_stream_could_be_used(
    xdiag: Xdiag, arguments: list[str], code: int
) -> None:
    done = xdiag("probe", *arguments)
    assert done.returncode == code, done.stderr
    assert arguments[1] in done.stdout


def test_a_probe_as_json_is_a_report(xdiag: Xdiag) -> None:
    done = xdiag("probe", "-p", "cross-thread", "--json")
    report = msgspec.json.decode(done.stdout, type=Report)
    assert report.results[0].cell.id == "cross-thread/none/driver"
    assert json.loads(done.stdout)["schema_version"] == 1


def test_a_matrix_in_every_format_tells_the_same(xdiag: Xdiag, tmp_path: Path) -> None:
    chosen = ["-p", "same-thread,second-runtime", "-f", "none,bind*", "-c", "replay"]
    texts = {}
    for form in ("table", "markdown", "json", "csv", "html", "junit"):
        path = tmp_path / f"out.{form}"
        done = xdiag("matrix", *chosen, "--format", form, "-o", str(path))
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        texts[form] = path.read_text()
    report = msgspec.json.decode(texts["json"], type=Report)
    kinds = {r.cell.id: r.outcome.kind.value for r in report.results}
    assert kinds == {
        "same-thread/none/replay": "ok",
        "same-thread/bind-loaded-runtime/replay": "n/a",
        "second-runtime/none/replay": "error",
        "second-runtime/bind-loaded-runtime/replay": "ok",
    }
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert {f"{r['pattern']}/{r['fix']}/{r['consumer']}": r["outcome"] for r in rows} == kinds
    suite = ET.fromstring(texts["junit"]).find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "0", "1")
    for form in ("table", "markdown", "html"):
        assert "second-runtime" in texts[form] and "709" in texts[form]


def test_a_matrix_on_a_sound_machine_exits_with_0_and_on_a_broken_one_with_1(
    xdiag: Xdiag,
) -> None:
    chosen = ["-p", "same-thread,cross-thread,second-runtime", "-f", "none"]
    assert xdiag("matrix", *chosen).returncode == 0
    assert xdiag("matrix", *chosen, fault="hipStreamQuery=segv").returncode == 1


def test_progress_goes_to_standard_error_only_when_wanted(xdiag: Xdiag) -> None:
    chosen = ["matrix", "-p", "same-thread", "-f", "none"]
    quiet = xdiag(*chosen)
    assert quiet.stderr == ""
    loud = xdiag(*chosen, "--progress")
    assert "cells" in loud.stderr


def test_a_finished_matrix_leaves_no_journal_behind(xdiag: Xdiag, home: dict[str, str]) -> None:
    from pathlib import Path

    xdiag("matrix", "-p", "same-thread", "-f", "none")
    assert list((Path(home["XDG_STATE_HOME"]) / "xdiag").iterdir()) == []


@pytest.mark.parametrize("command", ["patterns", "fixes"])
def test_a_catalogue_lists_shows_and_speaks_json(xdiag: Xdiag, command: str) -> None:
    entry = {"patterns": "cross-thread", "fixes": "bind-loaded-runtime"}[command]
    listed = xdiag(command, fake=False)
    assert listed.returncode == 0 and entry in listed.stdout
    shown = xdiag(command, entry, fake=False)
    assert shown.returncode == 0 and entry in shown.stdout
    data = json.loads(xdiag(command, "--json", fake=False).stdout)
    assert data["schema_version"] == 1
    assert entry in json.dumps(data)


def test_runtimes_without_any_says_what_to_do(xdiag: Xdiag) -> None:
    done = xdiag("runtimes", fake=False)
    if done.returncode == 0:
        pytest.skip("this machine has a HIP runtime of its own")
    assert done.returncode == 3
    assert "xdiag runtimes add" in done.stderr and len(done.stderr.splitlines()) == 1


def test_output_into_a_closed_pipe_is_quiet(home: dict[str, str]) -> None:
    done = subprocess.run(
        f"{sys.executable} -m xdiag patterns --json | head -c 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", env=home, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
