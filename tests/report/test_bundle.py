"""The bundle: only masked things get in, the same bytes each time, a whole file or none."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from report.canaries import CANARIES, HOME, HOST, KNOWN, USER
from xdiag.errors import CannotRun, Usage
from xdiag.report import bundle
from xdiag.report.bundle import Bundle, destination, write
from xdiag.report.masking import Masker

MADE = "2026-01-02T03:04:05+00:00"


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_nothing_gets_in_unmasked() -> None:
    made = Bundle(Masker(KNOWN))
    for canary in CANARIES:
        made.add(f"logs/{USER}/{HOST}.log", f"what {USER} said", canary.text)
        made.leave_out(f"{HOME}/x", f"no {USER} here")
    members = _members(made.packed(MADE))
    for name, content in members.items():
        together = (name + content.decode("utf-8", "surrogateescape")).lower()
        for known in (USER, HOST, "qzhome"):
            assert known not in together


def test_the_manifest_tells_what_each_file_is() -> None:
    made = Bundle(Masker(KNOWN))
    made.add("a.txt", "a text", f"by {USER}")
    made.leave_out("matrix", "not asked for")
    members = _members(made.packed(MADE))
    manifest = json.loads(members["MANIFEST.json"])
    assert manifest["schema_version"] == 1
    assert manifest["made"] == MADE
    assert manifest["masked"] is True
    assert manifest["replaced"] == {"user": 1}
    assert manifest["missing"] == [{"part": "matrix", "because": "not asked for"}]
    assert {each["name"] for each in manifest["files"]} == set(members) - {"MANIFEST.json"}
    for each in manifest["files"]:
        assert each["size"] == len(members[each["name"]])
        assert each["sha256"] == hashlib.sha256(members[each["name"]]).hexdigest()


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("logs/a b.log", "logs/a-b.log"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs/x", "abs/x"),
        ("logs/\x1b]31m\n.log", "logs/31m-.log"),
        ("...", "file"),
        ("MANIFEST.json", "MANIFEST-2.json"),
        (f"logs/{USER}.log", "logs/user-1-.log"),
        ("logs/" + "x" * 300 + ".log", "logs/" + "x" * 96 + ".log"),
        ("logs/\udcff.log", "logs/log"),
    ],
)
def test_names_that_every_file_system_takes(name: str, becomes: str) -> None:
    assert Bundle(Masker(KNOWN)).add(name, "", "") == becomes


def test_two_of_one_name_are_both_kept() -> None:
    made = Bundle(Masker())
    assert [made.add("logs/x.log", "", str(number)) for number in range(3)] == [
        "logs/x.log", "logs/x-2.log", "logs/x-3.log",
    ]  # fmt: skip
    assert [made.text(each.name) for each in made.members] == ["0", "1", "2"]


def test_equal_bundles_are_equal_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def packed() -> bytes:
        made = Bundle(Masker(KNOWN))
        for number, canary in enumerate(CANARIES):
            made.add(f"{number}.txt", canary.kind, canary.text)
        return made.packed(MADE)

    first = packed()
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert packed() == first


def test_what_is_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 1 << 20)
    made = Bundle(Masker())
    made.add("large.txt", "", "x" * (1 << 20))
    made.add("larger.txt", "", "x" * (1 << 20) + "y")
    assert [each.name for each in made.members] == ["large.txt"]
    assert made.missing[0].part == "larger.txt"


# ---- writing ---------------------------------------------------------------------------------


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"before")
    target.chmod(0o640)
    write(b"after", destination(str(target)))
    assert target.read_bytes() == b"after"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["x.zip"]


def test_a_new_file_is_its_users_alone(tmp_path: Path) -> None:
    write(b"x", destination(str(tmp_path / "x.zip")))
    assert (tmp_path / "x.zip").stat().st_mode & 0o777 == 0o600


def test_a_link_leads_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.zip").symlink_to("real.zip")
    write(b"x", destination(str(tmp_path / "link.zip")))
    assert (tmp_path / "real.zip").read_bytes() == b"x"
    assert (tmp_path / "link.zip").is_symlink()


def test_places_that_cannot_be_written_are_told_before_the_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.zip")
    for path, says in (
        ("", "needs a file's name"),
        (str(tmp_path), "it is a directory"),
        (str(tmp_path / "gone" / "x.zip"), "there is no directory"),
        (str(tmp_path / "fifo.zip"), "not a regular file"),
    ):
        with pytest.raises((CannotRun, Usage), match=says):
            destination(path)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"before")
    code = (
        "import resource, signal, sys; from xdiag.report.bundle import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "write(b'x' * 9999, sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True)
    assert "cannot write" in ended.stderr
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.zip"]


def test_ctrl_c_leaves_what_was_there(tmp_path: Path) -> None:
    """SIGINT while the data is on its way: after the temporary file was made."""
    target = tmp_path / "x.zip"
    target.write_bytes(b"before")
    code = (
        "import os, signal, sys; from xdiag.report.bundle import write\n"
        "real = os.fsync\n"
        "os.fsync = lambda fd: (real(fd), os.kill(os.getpid(), signal.SIGINT), real(fd))\n"
        "write(b'x' * 9999, sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGINT
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.zip"]
