"""A report's zip is read as its parts would be; one that somebody has made up does no harm."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from recording.writer import Written

from explain.samples import TORCH
from xdiag.cli.explain import _Unpacked
from xdiag.errors import CannotRun
from xdiag.explain import bundle
from xdiag.explain.bundle import DERIVED, MANIFEST
from xdiag.explain.explanation import explain

LOG = b"RuntimeError: HIP error: context is destroyed\n"


def _zip(
    path: Path, members: dict[str, bytes], *, what: str = "a log", manifest: object = None
) -> str:
    """A report with these members, all in its manifest."""
    told = {
        "schema_version": 1, "xdiag": "0.1.0",
        "files": [{"name": name, "what": what} for name in members],
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(MANIFEST, json.dumps(told if manifest is None else manifest))
    return str(path)


def _record(tmp_path: Path) -> bytes:
    written = Written(tmp_path / "written")
    process = written.process(4711)
    first = process.runtime(TORCH)
    second = process.runtime("/opt/rocm/lib/libamdhip64.so.6")
    thread = process.thread()
    thread.make(first, 0x7F00_0000_1000, 3)
    thread.use(second, 0x7F00_0000_1000, 4, 709)
    return Path(written.path).read_bytes()


def test_a_member_is_read_as_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "job.log").write_bytes(LOG * 3)
    alone = explain([str(tmp_path / "job.log")])
    path = _zip(tmp_path / "r.zip", {"logs/job.log": LOG * 3})
    found = explain([path])
    (source,) = found.sources
    assert (source.path, source.lines) == (f"{path}/logs/job.log", 3)
    assert found.fault and len(found.failures) == len(alone.failures) == 1
    assert found.failures[0].call == alone.failures[0].call


def test_what_is_made_of_another_and_what_was_not_put_in_is_not_read(tmp_path: Path) -> None:
    names = ("REPORT.md", "repairs.json", "doctor.txt", "reproducer.c", "elsewhere/job.log",
             "../job.log", "/logs/job.log", "logs/../job.log", "logs/a/b", "logs/\x1b[31m",
             "logs/", "LOGS/a", f"logs/{'x' * 200}")  # fmt: skip
    assert explain([_zip(tmp_path / "r.zip", dict.fromkeys(names, LOG))]).sources == ()
    for what in DERIVED:
        path = _zip(tmp_path / "r.zip", {"logs/job.log.txt": LOG}, what=what)
        assert explain([path]).sources == ()


def test_a_file_that_the_manifest_does_not_name_is_not_read_and_one_may_be_gone(
    tmp_path: Path,
) -> None:
    manifest = {
        "schema_version": 1,
        "xdiag": "0",
        "files": [{"name": "logs/gone", "what": "a log"}],
    }
    path = _zip(tmp_path / "r.zip", {"logs/job.log": LOG}, manifest=manifest)
    assert explain([path]).sources == ()


def _xdiag(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "explain", *arguments], capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, "COLUMNS": "400"}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert not done.stderr
    return done.returncode, done.stdout


def test_a_record_is_told_beside_the_logs(tmp_path: Path) -> None:
    path = _zip(tmp_path / "r.zip", {"records/run.xdiag": _record(tmp_path), "logs/job.log": LOG})
    status, shown = _xdiag(path)
    assert status == 1
    assert f"{path}/records/run.xdiag:" in shown and "FAIL  two-runtimes" in shown
    assert f"{path}/logs/job.log: 1 line" in shown
    told = json.loads(_xdiag("--json", path)[1])
    assert told["records"][0]["record"]["path"] == f"{path}/records/run.xdiag"
    assert [each["path"] for each in told["explanation"]["sources"]] == [f"{path}/logs/job.log"]


@pytest.mark.parametrize("others", [{}, {"records/second": True}])
def test_a_handle_is_followed_through_a_report(tmp_path: Path, others: dict[str, bool]) -> None:
    data = _record(tmp_path)
    path = _zip(tmp_path / "r.zip", {"records/run.xdiag": data, **dict.fromkeys(others, data)})
    status, shown = _xdiag("--handle", "0x7f0000001000", path)
    assert status == 1
    assert shown.count("made: hipStreamCreate") == 1 + len(others)


def test_a_record_of_a_report_is_kept_in_memory(tmp_path: Path) -> None:
    path = _zip(tmp_path / "r.zip", {"records/run.xdiag": _record(tmp_path)})
    with _Unpacked() as unpacked:
        explain([path], None, unpacked.take)
        ((name, file),) = unpacked.records.items()
        assert name == f"{path}/records/run.xdiag"
        assert os.readlink(file).startswith("/memfd:")
    assert not os.path.exists(file)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("no manifest", "is none of xdiag's"),
        ({"files": []}, "is none of xdiag's"),
        ({"schema_version": 999, "xdiag": "9", "files": []}, "written by a newer xdiag"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, manifest: object, says: str) -> None:
    path = _zip(tmp_path / "r.zip", {"logs/job.log": LOG}, manifest=manifest)
    with pytest.raises(CannotRun, match=says):
        explain([path])


def test_another_zip_is_to_be_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("job.log", LOG)
    with pytest.raises(CannotRun, match="unpack it, and give the files"):
        explain([str(path)])


def _raises(path: Path | str) -> str:
    with pytest.raises(CannotRun) as caught:
        explain([str(path)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bounds_hold_whatever_the_file_says_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _zip(tmp_path / "r.zip", {f"logs/{n}": LOG * 100 for n in range(3)})
    monkeypatch.setattr(bundle, "_MOST_MEMBER", 4000)
    assert "larger than is read" in _raises(path)
    monkeypatch.setattr(bundle, "_MOST_MEMBER", 1 << 20)
    monkeypatch.setattr(bundle, "_MOST_BYTES", 10_000)
    assert "more in it than is read" in _raises(path)
    monkeypatch.setattr(bundle, "_MOST_BYTES", 1 << 20)
    monkeypatch.setattr(bundle, "_MOST_MEMBERS", 3)
    assert "4 files in it" in _raises(path)
    monkeypatch.setattr(bundle, "_MOST_MEMBERS", 4)
    monkeypatch.setattr(bundle, "_MOST_FILE", 100)
    assert "larger than any report" in _raises(path)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    """64 MiB of zeros that the directory says are 10 bytes: no more than these are read."""
    path = Path(_zip(tmp_path / "r.zip", {"logs/job.log": bytes(64 << 20)}))
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 10)
    path.write_bytes(data)
    assert "logs/job.log" in _raises(path) or "cannot be read" in _raises(path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.zip"
    _zip(path, {"logs/job.log": LOG})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("logs/job.log", b"another")
    assert "two files of one name" in _raises(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(tmp_path: Path, method: int) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        archive.writestr(MANIFEST, "{}")
    (tmp_path / "r.zip").write_bytes(written.getvalue())
    assert "packed in another way" in _raises(tmp_path / "r.zip")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = Path(_zip(tmp_path / "r.zip", {"logs/job.log": LOG}))
    data = bytearray(path.read_bytes())
    for magic, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.find(magic) + flags] |= 1
    path.write_bytes(data)
    assert "packed in another way" in _raises(path)


def _refused(path: Path) -> str:
    try:
        explain([str(path)])
    except CannotRun as error:
        return str(error)
    return ""


def test_damage_is_one_line(tmp_path: Path) -> None:
    """Cut at every place, and with every byte of the directory turned: never a traceback."""
    path = Path(_zip(tmp_path / "r.zip", {"logs/job.log": LOG, "records/r": b"no record"}))
    whole = path.read_bytes()
    for at in range(4, len(whole)):
        path.write_bytes(whole[:at])
        assert str(path) in _raises(path)
    unharmed = 0
    for at in range(4, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        refused = _refused(path)
        unharmed += not refused
        assert not refused or (str(path) in refused and "\n" not in refused)
    assert unharmed < len(whole) / 2  # dates and modes of files, for the most part


def test_from_a_pipe_it_is_said_what_to_do(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = Path(_zip(tmp_path / "r.zip", {"logs/job.log": LOG})).read_bytes()
    if (child := os.fork()) == 0:
        pipe.write_bytes(data)
        os._exit(0)
    assert "give a report of xdiag's by its name" in _raises(pipe)
    os.waitpid(child, 0)
