"""Files that appear whole or not at all: a full disk, Ctrl-C, links, places that are none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from xdiag.errors import CannotRun
from xdiag.whole_file import place, write


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"before")
    target.chmod(0o640)
    write(b"after", place(str(target)))
    assert target.read_bytes() == b"after"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["x.zip"]


def test_a_new_file_is_its_users_alone_where_that_is_asked(tmp_path: Path) -> None:
    write(b"x", place(str(tmp_path / "x.zip")), private=True)
    assert (tmp_path / "x.zip").stat().st_mode & 0o777 == 0o600
    mask = os.umask(0o027)
    write(b"x", place(str(tmp_path / "y.txt")))
    os.umask(mask)
    assert (tmp_path / "y.txt").stat().st_mode & 0o777 == 0o640


def test_a_link_leads_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.zip").symlink_to("real.zip")
    write(b"x", place(str(tmp_path / "link.zip")))
    assert (tmp_path / "real.zip").read_bytes() == b"x"
    assert (tmp_path / "link.zip").is_symlink()


def test_places_that_cannot_be_written_are_told_before_the_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.zip")
    for path, says in (
        (str(tmp_path), "it is a directory"),
        (str(tmp_path / "gone" / "x.zip"), "there is no directory"),
        (str(tmp_path / "fifo.zip"), "not a regular file"),
    ):
        with pytest.raises(CannotRun, match=says):
            place(path)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x.zip"
    target.write_bytes(b"before")
    code = (
        "import resource, signal, sys; from xdiag.whole_file import write\n"
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
        "import os, signal, sys; from xdiag.whole_file import write\n"
        "real = os.fsync\n"
        "os.fsync = lambda fd: (real(fd), os.kill(os.getpid(), signal.SIGINT), real(fd))\n"
        "write(b'x' * 9999, sys.argv[1])"
    )
    ended = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGINT
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.zip"]
