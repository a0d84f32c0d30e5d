"""xdiag report from end to end: what a user plants is in no byte, a file appears whole or not."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from framework import Scene
from report.canaries import CANARIES
from report.scenes import log, record

from xdiag.runtimes.agent import library as software_agent

Xdiag = Callable[..., subprocess.CompletedProcess[str]]

#: Canaries that a file's or a variable's text can hold as they are.
_PLANTED = "\n".join(
    canary.text for canary in CANARIES if canary.kind not in ("UTF-16", "option in /proc")
)
#: Those that are found by their own shape or place, without this machine's names.
_SHAPED = [
    canary for canary in CANARIES
    if canary.kind not in (
        "user", "user in capitals", "user within a word", "full name", "full name in JSON", "host",
        "FQDN", "another host of the domain", "home",
    )
]  # fmt: skip


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs in whose every text is something private, below a directory with a user's name."""
    folder = tmp_path_factory.mktemp("planted") / "home" / "qzuser77"
    folder.mkdir(parents=True)
    log(folder, _PLANTED)
    record(folder, "/home/qzuser77/x")
    (folder / "serve.py").write_text("import ctypes  # for qzuser77\n")
    return folder


def test_nothing_that_is_planted_is_in_it(
    xdiag: Xdiag, home: dict[str, str], fake_library: Path, planted: Path, tmp_path: Path
) -> None:
    home |= {
        "USER": "qzlogin5", "LOGNAME": "qzlogin5", "HOME": str(tmp_path / "qzhome8"),
        "HOSTNAME": "qzbox6", "SLURM_JOB_ACCOUNT": "qzgroup4", "HF_TOKEN": "qzsecrettoken3",
        "HIP_X": "told by qzlogin5 on qzbox6 with qzsecrettoken3 from 203.0.113.9",
        "LD_LIBRARY_PATH": str(planted / "lib"), "QZ_PASSWORD": "qz pass word",
        "XSCHED_HIP_LIB": "/home/qzuser77/libamdhip64.so.6",
    }  # fmt: skip
    target = tmp_path / "out.zip"
    ended = xdiag(
        "report", "-o", str(target), "--record", str(planted / "run.xdiag"), "--log",
        str(planted / "amd.log"), "--runtime", str(fake_library), "--agent", "software", "--",
        sys.executable, str(planted / "serve.py"), "--password", "qzargument2", fake=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr == ""
    members = _members(target)
    private = [
        "qzlogin5", "qzhome8", "qzbox6", "qzgroup4", "qzsecrettoken3", "qz pass word", "qzuser77",
        "qzargument2", "203.0.113.9", *(text for each in _SHAPED for text in each.private),
    ]  # fmt: skip
    for name, content in members.items():
        text = content.decode("utf-8", "surrogateescape").lower()
        assert not [each for each in private if each.lower() in text or each.lower() in name]
        if name.endswith(".json"):
            json.loads(content)
    for name in ("doctor.json", "probes.json", "environment.json", "records/run.xdiag",
                 "logs/amd.log", "logs/amd.log.txt", "reproducer.c", "REPORT.md"):  # fmt: skip
        assert name in members
    assert len(members["REPORT.md"].decode()) < 65_536
    page = members["REPORT.md"].decode()
    assert "0x55f7f7645030" in members["logs/amd.log"].decode()
    assert "records/run.xdiag: two-runtimes" in page
    assert "QZ_PASSWORD" in members["environment.json"].decode()
    manifest = json.loads(members["MANIFEST.json"])
    assert manifest["masked"] and manifest["replaced"]["user"] >= 2
    assert "qz" not in ended.stdout.replace(str(target), "")


def test_what_is_wrong_is_repaired_and_reproduced(
    home: dict[str, str], fake_library: Path, tmp_path: Path
) -> None:
    """A program that will have two runtimes, below the home of somebody."""
    folder = tmp_path / "home" / "qzperson3" / "case"
    folder.parent.mkdir(parents=True)
    agent = str(software_agent().parent)
    scene = Scene(folder, fake_library, {"FAKE_FAULT": "", "LD_LIBRARY_PATH": agent}, "0")
    environ = {**home, **scene.environ, "XSCHED_HIP_LIB": str(scene.second)}
    ended = subprocess.run(
        [sys.executable, "-m", "xdiag", "report", "-o", "x.zip", "--agent", "software", "--",
         sys.executable, str(scene.case())],
        env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    members = _members(tmp_path / "x.zip")
    trials = json.loads(members["repairs.json"])
    assert trials["causes"] == ["two-runtimes"] and trials["chosen"] == ["xsched-hip-lib"]
    page = members["REPORT.md"].decode()
    assert "FAIL forecast.agreement" in page and "the repair to take: xsched-hip-lib" in page
    assert b"int main(" in members["reproducer.c"]
    assert json.loads(members["versions.json"])["torch"]
    assert not [name for name, content in members.items() if b"qzperson3" in content]


def test_the_page_alone(xdiag: Xdiag, tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    ended = xdiag("report", "-o", str(target))
    assert ended.returncode in (0, 1)
    page = target.read_text()
    assert page.startswith("# xdiag report\n")
    assert "Files of this report" not in page
    assert "second-runtime" in page


def test_without_a_name_it_is_named_by_the_time(xdiag: Xdiag, tmp_path: Path) -> None:
    began = time.monotonic()
    ended = xdiag("report", cwd=tmp_path)
    assert time.monotonic() - began < 20
    (made,) = tmp_path.glob("*.zip")
    assert re.fullmatch(r"xdiag-report-\d{8}T\d{6}Z\.zip", made.name)
    assert ended.stdout.startswith(f"{made.name}: ")
    assert "MANIFEST.json" in _members(made)


def test_a_runtime_that_is_none_costs_the_probes_only(
    xdiag: Xdiag, home: dict[str, str], tmp_path: Path
) -> None:
    """No runtime, a log that is none: the rest is there, and it is said to be in part."""
    (tmp_path / "zeros.log").write_bytes(bytes(1000))
    target = tmp_path / "out.zip"
    home |= {"ROCM_PATH": str(tmp_path / "none")}
    ended = xdiag("report", "-o", str(target), "--agent", "hardware", "--log",
                  str(tmp_path / "zeros.log"), fake=False)  # fmt: skip
    assert ended.returncode in (1, 3), ended.stderr
    missing = {each["part"] for each in json.loads(_members(target)["MANIFEST.json"])["missing"]}
    assert any(each.startswith("log ") for each in missing)
    if not os.path.exists("/dev/kfd"):
        assert {"runtime", "probes", "reproducer"} <= missing
    assert "doctor.json" in _members(target)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--no-mask"], "--no-mask writes private data as it is: say --yes"),
        (["-o", "report.txt"], "a report is a .zip, or a .md for the page alone"),
        (["-o", ""], "-o : a report is"),
        (["--log", "gone.log"], "--log gone.log: no such file"),
        (["--record", "gone.xdiag"], "--record gone.xdiag: no such file"),
        (["--log", "."], "--log .: it is a directory"),
        (["--log", "/dev/null"], "--log /dev/null: not a regular file"),
        (["--record", "/etc/passwd"], "--record: /etc/passwd: no record of xdiag's"),
        (["--python", "/bin/sh", "--", "true"], "COMMAND says which Python is used"),
        (["--python", "/nowhere/python3"], "/nowhere/python3"),
    ],
)
def test_wrong_usage_is_told_before_the_work(
    xdiag: Xdiag, tmp_path: Path, arguments: list[str], says: str
) -> None:
    ended = xdiag("report", *arguments, fake=False, cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert says in ended.stderr and ended.stderr.count("\n") == 1
    assert not list(tmp_path.glob("*.zip"))


def test_a_place_that_cannot_be_written(xdiag: Xdiag, tmp_path: Path) -> None:
    ended = xdiag("report", "-o", str(tmp_path / "gone" / "x.zip"), fake=False)
    assert ended.returncode == 3
    assert "there is no directory" in ended.stderr


def test_a_log_that_cannot_be_told_is_no_all_clear(xdiag: Xdiag, tmp_path: Path) -> None:
    (tmp_path / "zeros.log").write_bytes(bytes(1000))
    without = xdiag("report", "-o", str(tmp_path / "a.zip"))
    ended = xdiag("report", "-o", str(tmp_path / "b.zip"), "--log", str(tmp_path / "zeros.log"))
    assert ended.returncode == {0: 3, 1: 1}[without.returncode]
    assert "without log" in ended.stdout
    assert "REPORT.md" in _members(tmp_path / "b.zip")


def test_no_mask_with_a_yes(xdiag: Xdiag, home: dict[str, str], tmp_path: Path) -> None:
    home |= {"HIP_X": "by qzlogin5", "USER": "qzlogin5"}
    target = tmp_path / "out.zip"
    ended = xdiag("report", "--no-mask", "--yes", "-o", str(target))
    assert ended.returncode in (0, 1)
    members = _members(target)
    assert b"by qzlogin5" in members["environment.json"]
    assert json.loads(members["MANIFEST.json"])["masked"] is False
    assert "private data is in it as it was" in ended.stdout


def test_no_mask_asks_at_a_terminal(home: dict[str, str], tmp_path: Path) -> None:
    """Answered with no, nothing is looked at and nothing written."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "xdiag", "report", "--no-mask", "-o", "x.zip"], env=home,
        cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        os.write(master, b"n\n")
        assert process.wait(60) == 130
    said = os.read(master, 4096).decode()
    os.close(master)
    assert "as they are into x.zip?" in said
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize("after", [0.4, 1.5])
def test_ctrl_c_leaves_no_file(
    home: dict[str, str], fake_library: Path, tmp_path: Path, after: float
) -> None:
    (tmp_path / "out.zip").write_bytes(b"before")
    arguments = ["-o", "out.zip", "--with-matrix", "--runtime", str(fake_library)]
    with subprocess.Popen(
        [sys.executable, "-m", "xdiag", "report", *arguments, "--agent", "software"],
        env=home, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), said
    assert (tmp_path / "out.zip").read_bytes() == b"before"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".out.zip")]
