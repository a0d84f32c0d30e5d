"""``xdiag doctor`` as users call it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from doctor.scenes import SITE, Image

from xdiag.doctor.examination import Examination

if TYPE_CHECKING:
    from collections.abc import Callable

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def doctor(xdiag: Xdiag) -> Xdiag:
    """Run ``xdiag doctor`` in an empty home."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return xdiag("doctor", *arguments, fake=False)

    return run


def _split(image: Image) -> None:
    image.torch()
    image.runtime("opt/rocm/lib/libamdhip64.so", "libamdhip64.so.6", marker="rocm")
    image.xsched()


def test_a_split_image_is_a_fault_and_the_last_lines_say_what_to_do(
    doctor: Xdiag,
    image: Image,
) -> None:
    _split(image)
    done = doctor("--root", str(image.folder), "--env", "LD_LIBRARY_PATH=/opt/xsched/lib")
    assert done.returncode == 1, done.stderr
    assert "Python: /usr/bin/python3 (the first in the image that has torch)" in done.stdout
    at = done.stdout.index("FAIL  forecast.agreement")
    told = done.stdout[at:]
    assert f"/{SITE}/torch/lib/libamdhip64.so.6" in told.replace("\n", "").replace(" ", "")
    assert "ENV XSCHED_HIP_LIB=" in told
    assert "1 FAIL" in done.stdout.splitlines()[-2]
    assert done.stdout.splitlines()[-1].startswith("this program will have 2 HIP runtimes")


def test_json_is_one_versioned_document_that_reads_back(
    doctor: Xdiag,
    image: Image,
    tmp_path: Path,
) -> None:
    _split(image)
    file = tmp_path / "out.json"
    done = doctor("--root", str(image.folder), "--json", "-o", str(file),
                  "--env", "LD_LIBRARY_PATH=/opt/xsched/lib")  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    read = msgspec.json.decode(file.read_bytes(), type=Examination)
    assert read.schema_version == json.loads(file.read_text())["schema_version"]
    assert {"FAIL", "PASS", "SKIP"} <= {each.status.value for each in read.findings}
    assert {each.check for each in read.findings} == {each.id for each in read.checks}
    assert {each.family for each in read.libraries} == {"libamdhip64"}
    assert read.forecast is not None
    assert len(read.forecast.copies("libamdhip64", certain=True)) == 2


def test_this_machine_can_be_examined(doctor: Xdiag) -> None:
    done = doctor("--python", sys.executable, "--json")
    assert done.returncode in (0, 1), done.stderr
    read = msgspec.json.decode(done.stdout, type=Examination)
    by_id = {each.check: each for each in read.findings}
    assert by_id["python.interpreter"].status.value == "PASS"
    assert by_id["forecast.loader"].status.value == "PASS", by_id["forecast.loader"]
    assert not [each for each in read.findings if each.status.value == "ERR"]


def test_a_command_that_is_no_python(doctor: Xdiag) -> None:
    done = doctor("--only", "forecast.*", "-v", "--", "/bin/ls", "-l")
    assert done.returncode == 0, done.stdout
    assert "program: /bin/ls" in done.stdout
    assert "PASS  forecast.loader" in done.stdout
    assert "links to no HIP runtime" in done.stdout
    shell = doctor("--only", "forecast.*", "--", "bash", "-c", "python3 x.py")
    assert "WARN  forecast.agreement" in shell.stdout
    assert "name the program that it starts" in shell.stdout


def test_only_and_skip_choose(doctor: Xdiag) -> None:
    done = doctor("--only", "environment.*", "--skip", "environment.settings", "--json")
    read = msgspec.json.decode(done.stdout, type=Examination)
    ids = [each.check for each in read.findings]
    assert "environment.preload" in ids
    assert "environment.settings" not in ids
    assert all(id.startswith("environment.") for id in ids)


def test_list_checks_lists_and_looks_at_nothing(doctor: Xdiag) -> None:
    done = doctor("--list-checks", "--only", "xsched.*")
    assert done.returncode == 0
    assert "xsched.binding" in done.stdout
    assert "forecast" not in done.stdout
    listed = json.loads(doctor("--list-checks", "--json").stdout)["checks"]
    assert {"id", "title", "probe", "severity"} <= set(listed[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "forcast.*"], ["no check matches 'forcast.*'"]),
        (["--skip", "nothing"], ["no check matches 'nothing'"]),
        (["--only", "xsched.shim", "--skip", "xsched.*"], ["leave no check"]),
        (["--root", "/nowhere"], ["no such directory"]),
        (["--python", "/nowhere/python"], ["no such file"]),
        (["--env", "NAME"], ["NAME=VALUE"]),
        (["--python", sys.executable, "--", "ls"], ["leave --python out"]),
        (["--python", "/etc/passwd"], ["/etc/passwd", "no Python interpreter"]),
        (["--python", "/bin/ls"], ["not a CPython interpreter"]),
        (["--only", ""], ["--list-checks"]),
        (["--", "A=1", "python3"], ["use --env A=1"]),
        (["--", sys.executable, "/nowhere/x.py"], ["/nowhere/x.py: no such script"]),
        (["--", "nonesuch-program"], ["no program nonesuch-program"]),
        (["--only", "environment.*", "-o", "/nowhere/x.json"], ["cannot write"]),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(doctor: Xdiag, arguments: list[str], words: list[str]) -> None:
    done = doctor(*arguments)
    assert done.returncode == (3 if "cannot write" in words else 2), done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("xdiag: ")
    assert all(word in line for word in words)


def test_on_a_terminal_there_is_colour_and_in_a_pipe_none(home: dict[str, str]) -> None:
    command = [sys.executable, "-m", "xdiag", "doctor", "--only", "environment.*"]
    piped = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
    assert "\x1b" not in piped.stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env={**home, "TERM": "xterm-256color"}, stdout=theirs) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the terminal's other end was closed
                break
            shown += part
        assert child.wait() == 0
    os.close(ours)
    assert b"\x1b[" in shown
    assert b"PASS" in shown
