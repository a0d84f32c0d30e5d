"""Ctrl-C, SIGKILL and --resume: what was finished is never lost.  On real processes and a pty."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from support import build_fake

from xdiag.runtimes.agent import library as software_agent

if TYPE_CHECKING:
    from collections.abc import Callable

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]

#: 4 patterns without a fix for 2 consumers: 3 cells come before the one that hangs.
CHOSEN = ["matrix", "-p", "same-thread,cross-thread,device-reset,creator-exited", "-f", "none"]


def _start(
    home: dict[str, str], library: Path, *arguments: str, fault: str = "", **options: object
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "xdiag", *arguments, "--runtime", str(library), "--agent",
         "software"],
        env={**home, "FAKE_FAULT": fault}, **options,
    )  # fmt: skip


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def _when_it_hangs(process: subprocess.Popen[bytes], journal: Path) -> list[psutil.Process]:
    """Wait for the third result and for the cell after it; the processes below xdiag."""
    _wait_for(lambda: len(_lines(journal)) >= 4)
    me = psutil.Process(process.pid)
    _wait_for(lambda: len(me.children(recursive=True)) >= 2)
    return me.children(recursive=True)


def test_resume_after_sigkill_loses_nothing_finished(
    home: dict[str, str], fake_library: Path, xdiag: Xdiag, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    process = _start(
        home, fake_library, *CHOSEN, "-j", "1", "--timeout", "60", "--journal", str(journal),
        fault="hipDeviceReset=hang", stdout=subprocess.DEVNULL,
    )  # fmt: skip
    family = _when_it_hangs(process, journal)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, "children outlived a killed xdiag"

    before = _lines(journal)
    done = xdiag(*CHOSEN, "--timeout", "60", "--resume", str(journal), "--format", "json")
    assert done.returncode == 0, done.stderr
    after = _lines(journal)
    assert after[: len(before)] == before
    ids = [json.loads(line)["cell"]["id"] for line in after[1:]]
    assert len(ids) == len(set(ids)) == 8
    report = json.loads(done.stdout)
    assert [r["cell"]["id"] for r in report["results"]][:3] == ids[:3]
    assert len(report["results"]) == report["planned"] == 8


def test_ctrl_c_while_cells_hang_in_several_start_environments(
    home: dict[str, str], fake_library: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    # Both patterns hang as they are, and the second one under each fix, in warm parents of its own.
    process = _start(
        home, fake_library, "matrix", "-p", "cross-thread,second-runtime", "-c", "replay",
        "-f", "none,unify,preload", "-j", "4", "--timeout", "60", "--journal", str(journal),
        "--format", "json", fault="hipStreamGetFlags=hang",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    me = psutil.Process(process.pid)
    # Three warm parents, and four cells that hang.
    _wait_for(lambda: len(me.children()) == 3 and len(me.children(recursive=True)) == 7)
    family = me.children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in err
    # Only those that the fixes do not apply to have a result.
    assert {result["outcome"]["kind"] for result in json.loads(out)["results"]} == {"n/a"}
    assert not psutil.wait_procs(family, timeout=10)[1]


def test_resume_on_another_runtime_is_refused(
    xdiag: Xdiag, tmp_path: Path, fake_library: Path
) -> None:
    import shutil

    journal = tmp_path / "journal"
    assert xdiag(*CHOSEN, "--journal", str(journal)).returncode == 0
    other = tmp_path / "libamdhip64.so.5"
    shutil.copy(fake_library, other)
    done = xdiag(
        *CHOSEN, "--resume", str(journal), "--runtime", str(other), "--agent", "software",
        fake=False,
    )  # fmt: skip
    assert done.returncode == 2 and "the journal was written with runtime" in done.stderr


def test_ctrl_c_prints_what_is_done_and_how_to_go_on(
    home: dict[str, str], fake_library: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    process = _start(
        home, fake_library, *CHOSEN, "-j", "1", "--timeout", "60", "--journal", str(journal),
        "--format", "json",
        fault="hipDeviceReset=hang", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    family = _when_it_hangs(process, journal)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert len(json.loads(out)["results"]) == 3
    assert b"3 of 8 cells" in err and b"Traceback" not in err
    # The line to go on with is the same command, with the journal.
    go_on = err.decode().strip().rpartition("go on with: xdiag ")[2]
    assert go_on.startswith("matrix -p same-thread,") and go_on.endswith(f"--resume {journal}")
    assert go_on.count(str(journal)) == 1
    assert not psutil.wait_procs(family, timeout=10)[1]


def _on_a_terminal(
    home: dict[str, str], library: Path, *arguments: str, interrupt_at: bytes = b"", fault: str = ""
) -> tuple[int, str]:
    """Run on a pty of 100 columns; type Ctrl-C when ``interrupt_at`` is on the screen."""
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {k: v for k, v in home.items() if k not in ("COLUMNS", "NO_COLOR")}
    process = _start(
        {**environment, "TERM": "xterm-256color"}, library, *arguments, fault=fault,
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    screen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        screen += data
        if interrupt_at and interrupt_at in screen:
            os.write(leader, b"\x03")
            interrupt_at = b""
    os.close(leader)
    return process.wait(timeout=30), screen.decode()


def test_a_terminal_shows_progress_colour_and_the_matrix(
    home: dict[str, str], fake_library: Path
) -> None:
    status, screen = _on_a_terminal(home, fake_library, "matrix", "-p", "s*", "-f", "none")
    assert status == 0
    assert "cells" in screen and "\x1b[" in screen
    assert "second-runtime" in screen and "709" in screen
    assert "\x1b[?25h" in screen, "the cursor was not shown again"


def test_ctrl_c_on_a_terminal(home: dict[str, str], fake_library: Path) -> None:
    status, screen = _on_a_terminal(
        home, fake_library, *CHOSEN, "-j", "1", "--timeout", "60", fault="hipDeviceReset=hang",
        interrupt_at=b"3/8",
    )  # fmt: skip
    assert status == 130
    assert "interrupted after 3 of 8 cells" in " ".join(screen.split())
    assert "Traceback" not in screen
    assert "--resume" in screen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_xdiag_takes_its_children_along(
    home: dict[str, str], fake_library: Path, tmp_path: Path, number: signal.Signals
) -> None:
    journal = tmp_path / "journal"
    process = _start(
        home, fake_library, *CHOSEN, "-j", "2", "--timeout", "60", "--journal", str(journal),
        fault="hipDeviceReset=hang", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    family = _when_it_hangs(process, journal)
    process.send_signal(number)
    process.wait(timeout=10)
    assert not psutil.wait_procs(family, timeout=10)[1]


# ---- journals of several runtimes, and of none that is named ----


@pytest.fixture
def newer_library(fake_library: Path, tmp_path: Path) -> Path:
    """The fake runtime as another version."""
    del fake_library  # for what it asks of the machine
    return build_fake(
        tmp_path, "-Wl,--no-as-needed", str(software_agent()), "-DFAKE_VERSION=60342133"
    )


def _interrupted_and_resumed(
    home: dict[str, str], fake_library: Path, *options: str
) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Interrupt a run, go on as it says; the first one's error output, and the second one."""
    process = _start(
        home, fake_library, *CHOSEN, *options, "-j", "1", "--timeout", "60",
        fault="hipDeviceReset=hang", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    folder = Path(home["XDG_STATE_HOME"]) / "xdiag"
    _wait_for(lambda: any(len(_lines(each)) >= 4 for each in folder.glob("*.jsonl*")))
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    told = err.decode()
    command = told.strip().rpartition("go on with: xdiag ")[2]
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", *shlex.split(command)], env=home, text=True,
        capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    return told, done


@pytest.mark.parametrize("several", [False, True])
def test_a_journal_that_nobody_named_is_gone_when_the_run_is_complete(
    several: bool, home: dict[str, str], fake_library: Path, newer_library: Path
) -> None:
    options = ["--runtime", str(newer_library)] if several else []
    _, done = _interrupted_and_resumed(home, fake_library, *options)
    assert done.returncode == 0, done.stderr
    assert "?" not in done.stdout.split() and "interrupted" not in done.stdout
    assert list((Path(home["XDG_STATE_HOME"]) / "xdiag").iterdir()) == []


def test_a_journal_that_was_named_is_kept(xdiag: Xdiag, tmp_path: Path) -> None:
    journal = tmp_path / "mine"
    assert xdiag(*CHOSEN, "--journal", str(journal)).returncode == 0
    assert xdiag(*CHOSEN, "--resume", str(journal)).returncode == 0
    assert len(_lines(journal)) == 9


def test_a_mistyped_journal_of_several_runtimes_is_refused(
    xdiag: Xdiag, newer_library: Path, tmp_path: Path
) -> None:
    several = [*CHOSEN, "--runtime", str(newer_library)]
    assert xdiag(*several, "--journal", str(tmp_path / "kept")).returncode == 0
    there = sorted(each.name for each in tmp_path.glob("kept*"))
    assert there == ["kept.5.2.21153", "kept.6.3.42133"]
    done = xdiag(*several, "--resume", str(tmp_path / "kebt"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no kebt.6.3.42133 or kebt.5.2.21153" in done.stderr
    assert "did you mean kept?" in done.stderr
    assert not list(tmp_path.glob("kebt*"))
    # One of two is enough: the run may have been interrupted before it came to the other.
    (tmp_path / there[0]).unlink()
    assert xdiag(*several, "--resume", str(tmp_path / "kept")).returncode == 0
