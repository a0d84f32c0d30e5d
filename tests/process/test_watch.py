"""Watching a process: a copy that comes, one that goes, another program, the end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes.conftest import in_fork

from process.conftest import Opener, needs_root
from xdiag.process import watch
from xdiag.process.every import look_at_every
from xdiag.process.proc import Proc

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


class _Watcher(threading.Thread):
    """Collects changes."""

    def __init__(self, pid: int, seconds: float = 0.01) -> None:
        super().__init__(daemon=True)
        self.pid, self.seconds = pid, seconds
        self.changes: list[watch.Change] = []
        self.ended_at = 0.0
        self.start()
        self.wait_for(1)

    def run(self) -> None:
        with Proc(self.pid) as process:
            for change in watch.watch(process, self.seconds):
                self.changes.append(change)
        self.ended_at = time.monotonic()

    def wait_for(self, count: int) -> watch.Change:
        deadline = time.monotonic() + 10
        while len(self.changes) < count:
            assert time.monotonic() < deadline, "nothing was seen"
            time.sleep(0.002)
        return self.changes[count - 1]


def _paths(objects) -> list[str]:
    return [each.path for each in objects]


def test_what_comes_and_goes(start: Start, runtime: Runtime) -> None:
    a, b = map(str, (runtime("a/libamdhip64.so.6"), runtime("b/plugin.so")))
    opener = start(f"open {a}")
    watcher = _Watcher(opener.pid)
    assert watcher.changes[0].event == "start" and _paths(watcher.changes[0].loaded) == [a]
    opener.tell(f"open {b}")
    change = watcher.wait_for(2)
    assert (change.event, _paths(change.appeared), _paths(change.disappeared)) == (
        "change",
        [b],
        [],
    )
    assert sorted(_paths(change.loaded)) == sorted([a, b])
    opener.tell("close")
    change = watcher.wait_for(3)
    assert (_paths(change.appeared), _paths(change.disappeared)) == ([], [b])
    opener.end()
    assert watcher.wait_for(4).event == "end"
    assert len(watcher.changes) == 4


def test_another_program_in_the_same_process(
    start: Start,
    runtime: Runtime,
    program: Path,
    tmp_path: Path,
) -> None:
    a = str(runtime("a/libamdhip64.so.6"))
    other = shutil.copy(program, tmp_path / "other")
    opener = start(f"open {a}")
    watcher = _Watcher(opener.pid)
    opener.tell(f"exec {other}")
    change = watcher.wait_for(2)
    assert (change.event, change.program) == ("program", str(other))
    assert _paths(change.disappeared) == [a]


@pytest.mark.parametrize("pidfd", [True, False])
def test_its_end_is_seen_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    opener = start()
    watcher = _Watcher(opener.pid, 60 if pidfd else 0.05)
    begun = time.monotonic()
    os.kill(opener.pid, 9)  # not reaped: a zombie is an end, too
    assert watcher.wait_for(2).event == "end"
    watcher.join(5)
    assert watcher.ended_at - begun < 2


def test_every_process(start: Start, runtime: Runtime) -> None:
    a, b = map(str, (runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")))
    one, two, none = start(f"open {a}"), start(f"open {a}", f"open {b}"), start()
    found = look_at_every()
    by_pid = {facts.pid: _paths(copy.object for copy in facts.copies) for facts in found.processes}
    assert by_pid[one.pid] == [a] and by_pid[two.pid] == [a, b]
    assert none.pid not in by_pid and os.getpid() not in by_pid
    assert found.looked_at >= 3


@needs_root
def test_every_process_that_another_user_may_read(start: Start, runtime: Runtime) -> None:
    opener = start(f"open {runtime('a/libamdhip64.so.6')}")

    def found() -> tuple[bool, bool]:
        every = look_at_every()
        return opener.pid in {facts.pid for facts in every.processes}, every.refused > 0

    assert in_fork(found, user=65534) == (0, "(False, True)")
