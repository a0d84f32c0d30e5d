"""Ask a runtime what it can do, in a process that may crash, hang or exit over it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xdiag import platforms
from xdiag.errors import CannotRun
from xdiag.launch.interpreter import interpreter
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xdiag.model import Loader

#: The program of the child: the standard library only, so that it starts fast.
_PROGRAM = Path(__file__).with_name("_probe_child.py")
#: Seconds for everything; a first start on a machine with eight GPUs takes several.
PATIENCE = 60.0
#: Bytes kept of what the runtime prints.
_KEPT = 16 * 1024
#: Seconds between looks at whether the child has ended.
_LOOK_EVERY = 0.2


class Answer(Record, frozen=True):
    """What a runtime answered."""

    #: Why there is no usable device, in one line; empty where there is one.
    problem: str = ""
    #: Whether it could be loaded at all.
    loaded: bool = False
    devices: int = 0
    device_name: str = ""
    #: As the runtime tells it: "5.2.21153", or "13.0" of CUDA; empty if it does not.
    version: str = ""
    #: Files of the HSA runtime in the process.
    hsa: tuple[str, ...] = ()


class _Told(msgspec.Struct):
    """What the child writes, whole, after each thing that it does."""

    doing: str = ""
    load_error: str = ""
    init: int | None = None
    count: int | None = None
    devices: int = 0
    version: int = 0
    device_name: str = ""
    hsa: list[str] = []
    done: bool = False


def ask(
    runtime: str,
    *,
    library_path: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    loader: Loader | None = None,
    patience: float = PATIENCE,
    platform: str = "hip",
) -> Answer:
    """Load ``runtime`` in a child process, initialise it, and count its devices.

    The child is started under ``loader`` where there is one.  Raises CannotRun only if the child
    cannot be started; all else is in the answer.
    """
    variables = surroundings(library_path, environment or {})
    startup = platforms.get(platform).startup
    command = [*interpreter(loader, variables), "-I", "-S", str(_PROGRAM), runtime]
    calls = json.dumps([startup.init, startup.version, startup.count, startup.name])
    answers, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            process = subprocess.Popen(
                [*command, str(theirs), calls], pass_fds=[theirs], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=variables,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise CannotRun(f"cannot start {command[0]}: {error}") from error
        finally:
            os.close(theirs)
        output, silent = _ended(process, patience)
        silent_for = patience if silent else None
        return _answer(_told(answers), process.returncode, output, silent_for, platform)
    finally:
        os.close(answers)


def surroundings(library_path: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that loads a runtime: as the engine gives it to its cells."""
    every = {**os.environ, **environment}
    path = [*library_path, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    if path:
        every["LD_LIBRARY_PATH"] = ":".join(path)
    return every


def _ended(process: subprocess.Popen[bytes], patience: float) -> tuple[str, bool]:
    """Wait for the child; returns the end of its output, and whether it had to be killed."""
    deadline = time.monotonic() + patience
    try:
        output = _output(process, _LOOK_EVERY)
        # What it has started may hold its output open: that it ended has to be asked for.
        while output is None and process.poll() is None and time.monotonic() < deadline:
            output = _output(process, _LOOK_EVERY)
        silent = process.poll() is None
    finally:
        # Whatever it has started goes with it.
        _kill(process)
    if output is None:
        output = _output(process, 5) or b""
    return output[-_KEPT:].decode(errors="replace"), silent


def _output(process: subprocess.Popen[bytes], seconds: float) -> bytes | None:
    """All that the child and its children wrote; None if they are not at the end in time."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _told(answers: int) -> _Told:
    """The last line that the child wrote; few enough to have lain in the pipe until now."""
    # Something that the runtime has started may still hold the other end.
    os.set_blocking(answers, False)
    try:
        lines = os.read(answers, 65536).splitlines()
    except BlockingIOError:
        lines = []
    return msgspec.json.decode(lines[-1], type=_Told) if lines else _Told()


def _answer(
    told: _Told, status: int, output: str, silent_for: float | None, platform: str
) -> Answer:
    problem = _problem(told, status, silent_for, platform)
    said = [line.strip() for line in output.splitlines() if line.strip()]
    if problem and said and not told.load_error:
        problem += f"; it said: {said[-1][:300]}"
    return Answer(
        problem=problem,
        loaded=told.doing not in ("", "dlopen") and not told.load_error,
        devices=told.devices,
        device_name=told.device_name,
        version=platforms.get(platform).startup.written(told.version),
        hsa=tuple(told.hsa),
    )


def _problem(told: _Told, status: int, silent_for: float | None, platform: str) -> str:
    doing = told.doing or "the start of the process"
    if told.load_error:
        return f"it does not load: {told.load_error}"
    if silent_for is not None:
        return f"no answer from {doing} within {silent_for:g} s"
    if not told.done:
        if status < 0:
            return f"{doing} crashed: {_signal(-status)}"
        return f"{doing} ended the process with status {status}"
    startup = platforms.get(platform).startup
    for call, code in ((startup.init, told.init), (startup.count, told.count)):
        if code:
            return f"{call} returned {_error(code, platform)}"
    return "" if told.devices > 0 else "it has no device"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error(code: int, platform: str) -> str:
    try:
        from xdiag import native
    except ImportError:  # not built: the number has to do
        return str(code)
    name, _ = native.errors(platform).get(code, ("", ""))
    return f"{code} ({name})" if name else str(code)
