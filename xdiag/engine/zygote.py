"""The warm parent: forks a child per cell on request, reaps it, kills it on request.

A process of its own, single-threaded, that has imported what a child needs and has never opened a
GPU runtime, HIP's or HSA's; so each child starts clean, and in a millisecond or two.  What it may
have opened is AMD's compiler (comgr), which knows no device.  It ends when the supervisor goes
away, and takes every child with it.

Where its cells need torch, it has imported that too, which maps torch's libraries and starts
nothing: a child that starts it is as one that imported it for itself, and 2 s earlier.

Where its cells ask for LD_PRELOAD, the loader has mapped the runtime before Python began, and run
its constructors.  Nothing has called it; and AMD's (5.2.3) start no thread and open no device by
themselves, so that a child answers as one does that opens it for itself (tests/lab).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import msgspec

from xdiag import native, platforms
from xdiag.engine import log
from xdiag.engine.child import StoryTeller
from xdiag.engine.environment import IMPORT
from xdiag.engine.messages import (
    MAX_MESSAGE,
    Command,
    Ended,
    Kill,
    Paths,
    Ready,
    Refused,
    Reply,
    Start,
    Started,
)
from xdiag.model import Cell, Step

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import FrameType

#: Seconds to wait for killed processes to be gone.
_BURIAL = 2.0


class Zygote:
    """Serves one supervisor over a connected socket until it closes."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._decode = msgspec.json.Decoder(Command).decode
        self._encode = msgspec.json.Encoder().encode
        self._children: dict[int, int] = {}  # pid -> number

    def serve(self) -> None:
        """Answer commands until the supervisor's end is closed, then kill what is left."""
        wakeup_r, wakeup_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _note)
        # Ctrl-C is the supervisor's business: it still wants what the children have found.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self._supervisor, select.POLLIN)
        poll.register(wakeup_r, select.POLLIN)
        try:
            while True:  # until the supervisor hangs up
                ready = {fd for fd, _ in poll.poll()}
                if wakeup_r in ready:
                    os.read(wakeup_r, 4096)
                    self._reap()
                if self._supervisor.fileno() in ready and not self._command():
                    return
        except (BrokenPipeError, ConnectionResetError):
            return  # it hung up with something still unread
        finally:
            for pid in self._children:
                _bury_group(pid)

    def _send(self, reply: Reply) -> None:
        self._supervisor.send(self._encode(reply))

    def _command(self) -> bool:
        """Carry out one command; False once there will be no more."""
        message, descriptors, _, _ = socket.recv_fds(self._supervisor, MAX_MESSAGE, 2)
        if not message:
            return False
        command = self._decode(message)
        if isinstance(command, Kill):
            for pid, number in self._children.items():
                if number == command.number:
                    _kill_group(pid)
            return True
        self._fork(command, *descriptors)
        return True

    def _fork(self, start: Start, shared: int, output: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._send(Refused(number=start.number, reason=f"fork: {error.strerror}"))
        else:
            if pid == 0:
                self._be_child(start, shared, output)
            self._children[pid] = start.number
            # Both do it, so that it is done whoever runs first.
            _own_group(pid)
            self._send(Started(number=start.number, pid=pid))
        finally:
            os.close(shared)
            os.close(output)

    def _be_child(self, start: Start, shared: int, output: int) -> NoReturn:
        status = 70  # EX_SOFTWARE: seen only if our own code below fails
        try:
            native.die_with_parent()
            _own_group(0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._supervisor.close()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(nothing)
            os.close(output)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            report = log.writer(shared)
            os.close(shared)
            teller = StoryTeller(start.cell, start.platform, start.paths, report)
            teller.tell(start.leave_out)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            # Not exit(): what the runtime does in exit handlers is not part of the story.
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._children.pop(pid, None)
            if number is not None:
                _bury_group(pid)
                self._send(Ended(number=number, wait_status=wait_status))


def _note(signum: int, frame: FrameType | None) -> None:
    """A handler must exist for the wakeup descriptor to be written."""
    del signum, frame


def _own_group(pid: int) -> None:
    try:
        os.setpgid(pid, pid)
    except (ProcessLookupError, PermissionError):
        return  # it ended, or did so itself


def _kill_group(pid: int) -> bool:
    """Kill all processes of a group; False if there are none."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _bury_group(pid: int) -> None:
    """Kill what a cell has left behind in its group, and wait until it is gone.

    Orphans come to this process (adopt_orphans), which reaps them here.  One that the kernel cannot
    let go, in the middle of a driver's call, is not waited for for ever.
    """
    deadline = time.monotonic() + _BURIAL
    while _kill_group(pid) and time.monotonic() < deadline:
        try:
            reaped, _ = os.waitpid(-pid, os.WNOHANG)
        except ChildProcessError:
            reaped = 0
        if not reaped:
            time.sleep(0.001)


def main() -> None:
    """Entry point: ``argv[1]`` is the descriptor of the socket to the supervisor.

    ``argv[2]`` is the compiler to open beforehand, empty for none; the rest are files that the
    loader was told to map into this process.
    """
    supervisor = socket.socket(fileno=int(sys.argv[1]))
    supervisor.set_inheritable(False)
    native.die_with_parent()
    # Orphans of a cell come here to be reaped, instead of staying behind.
    native.adopt_orphans()
    if sys.argv[2]:
        # Without it each child opens it for itself, and takes longer: no reason to stop.
        native.preload_compiler(sys.argv[2])
    problem = _not_imported(os.environ.pop(IMPORT, ""))
    try:
        _warm_up()
    except OSError as error:
        sys.exit(f"xdiag: the process that forks the cells cannot start: {error}")
    unfit = problem or _not_mapped(sys.argv[3:])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has hung up
        supervisor.send(msgspec.json.encode(Ready(unfit=unfit)))
        if not unfit:
            Zygote(supervisor).serve()
        # What was asked meanwhile is read all the same: else it would cancel what was just said.
        while unfit and supervisor.recv(MAX_MESSAGE):
            pass
    # Not exit(): exit handlers of what was preloaded have no business here.
    os._exit(0)


def _not_mapped(files: list[str]) -> str:
    """Says which of these files the loader has passed over, empty if it has mapped them all.

    It warns of an entry of LD_PRELOAD or LD_AUDIT that it cannot use, and goes on (ld.so(8)); an
    audit library whose la_version returns 0 is unmapped again (rtld-audit(7)).
    """
    with open("/proc/self/maps", errors="surrogateescape") as maps:
        mapped = {line.split(maxsplit=5)[-1].rstrip("\n") for line in maps if "/" in line}
    missing = [file for file in files if not any(_is_same(file, other) for other in mapped)]
    return f"the loader did not take {' and '.join(missing)}" if missing else ""


def _not_imported(module: str) -> str:
    """Import a module, if one is named; why that cannot be done, empty if it is."""
    if not module:
        return ""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return (
                f"{module} is not installed in xdiag's Python ({sys.executable}): install xdiag"
                f" into the environment that has {module}"
            )
        return f"{module} cannot be imported: {error}"
    except Exception as error:
        return f"{module} cannot be imported: {str(error).strip() or type(error).__name__}"
    devices = [platforms.get(name).device for name in platforms.names()]
    if opened := open_devices(devices):
        return (
            f"importing {module} opens {' and '.join(opened)}, of which a forked child has no use"
        )
    return ""


def open_devices(devices: Collection[str]) -> list[str]:
    """Which of these device files this process has open."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [device for device in devices if device in found]


def _is_same(file: str, mapped: str) -> bool:
    # By what stat says of both: on some file systems the map names another device.
    with contextlib.suppress(OSError):
        return os.path.samefile(file, mapped)
    return False


def _warm_up() -> None:
    """Do once what every child would do again: imports, tables, first encodings."""
    native.every_call()
    native.errors()
    for name in platforms.names():
        platforms.get(name)
    scratch = log.new()
    report = log.writer(scratch)
    step = Step(actors=("main",), verb="same", args=(1,), result="warm")
    cell = Cell("warm", "warm", "warm", "warm", steps=(step,))
    StoryTeller(cell, "hip", Paths("", "", "", "", "", "", ""), report).tell()
    os.close(scratch)
    # What the collector would touch in a child is copied for it: the less the better.
    gc.disable()
    gc.freeze()


if __name__ == "__main__":
    main()
