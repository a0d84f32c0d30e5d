"""A process of its own, with an end: what it said last, how it ended, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

#: Bytes of output that are kept: the last ones, of a program that floods.
_KEPT = 64 << 10
#: Seconds between looks at whether it has ended, where something it started holds its output open.
_LOOK = 0.05


class Ended(Record, frozen=True):
    """How a process ended."""

    ending: Literal["ok", "exit", "crash", "hang", "not-started"]
    #: Exit status or number of the signal.
    status: int
    #: The end of what it wrote, to standard output and error together.
    output: str

    @property
    def last_line(self) -> str:
        """What it said last; empty for one that said nothing."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


def run(command: Sequence[str], environ: Mapping[str, str], timeout: float) -> Ended:
    """Run a command to its end, or for ``timeout`` seconds.

    It has a session of its own: what it has started is killed with it, at its end, at the time-out
    and where this is interrupted.  Never raises for what the command does.
    """
    try:
        process = subprocess.Popen(
            command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, bufsize=0,
        )  # fmt: skip
    except OSError as error:
        return Ended("not-started", 0, f"cannot start {command[0]}: {error.strerror}")
    hung = True
    output = b""
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if selector.select(min(left, _LOOK)):
                    chunk = os.read(process.stdout.fileno(), _KEPT)
                    output = (output + chunk)[-_KEPT:]
                    if not chunk:
                        # It may close its output and go on.
                        selector.unregister(process.stdout)
                elif _has_ended(process.pid):
                    hung = False
                    break
    finally:
        # Not reaped yet: the number is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    text = output.decode(errors="replace")
    if hung:
        return Ended("hang", 0, text)
    status = process.returncode
    if status < 0:
        return Ended("crash", -status, text)
    return Ended("exit" if status else "ok", status, text)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
