"""A supervised command at a terminal: keys, job control, hang-up, under a real shell."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from launch.supervision import BOTH, ONCE_MORE, PATIENCE, SUPERVISED, children, state_of, until


class Terminal:
    """A pseudo-terminal, and a program that leads its session."""

    def __init__(self, *command: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            environ = {**os.environ, "PS1": "@\\n", "TERM": "dumb", "HISTFILE": ""}
            os.execvpe(command[0], command, environ)
        self.text = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("=HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> None:
        """Take what comes within so many seconds, the first of it."""
        if select.select([self.master], [], [], seconds)[0]:
            with suppress(OSError):  # EIO: nobody has it open any more
                self.text += os.read(self.master, 1 << 16).decode(errors="replace")

    def states(self) -> dict[int, str]:
        """Of the processes in the session, for who reads of a failure."""
        return {pid: state_of(pid) for pid in _of_session(self.pid)}

    def until(self, pattern: str) -> str:
        """Wait for a line; all that came before its end."""
        end = time.monotonic() + PATIENCE
        line = re.compile(pattern, re.MULTILINE)
        while not (found := line.search(self.text.replace("\r", ""))):
            assert time.monotonic() < end, (
                f"{pattern!r} did not come: {self.text!r} {self.states()}"
            )
            self.read(0.05)
        text = self.text.replace("\r", "")
        self.text = text[found.end() :]
        return text[: found.end()]

    def told(self, pattern: str) -> str:
        """Wait for what the shell says of a job: it does so before a prompt, so ask for some."""
        said = self.until("^@$")
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, said, re.MULTILINE):
            assert time.monotonic() < end, f"{pattern!r} was not told: {said!r}"
            self.type("\n")
            said += self.until("^@$")
            time.sleep(0.05)
        return said

    def rest(self) -> str:
        """What else comes."""
        end = time.monotonic() + ONCE_MORE
        while time.monotonic() < end:
            self.read(0.02)
        text, self.text = self.text.replace("\r", ""), ""
        return text

    def close(self) -> None:
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*command: str) -> Terminal:
        started.append(Terminal(*command))
        return started[-1]

    yield start
    for each in started:
        each.close()
        for pid in (*_of_session(each.pid), each.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(each.pid, 0)


def _of_session(session: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and os.getsid(int(entry)) == session:
                found.append(int(entry))
    return found


@pytest.fixture
def shell(terminal: Callable[..., Terminal]) -> Terminal:
    """An interactive bash."""
    started = terminal("bash", "--norc", "--noprofile", "--noediting", "-i")
    started.type("stty -echo\n")
    started.until("^@$")
    started.type("echo begin\n")
    started.until("^begin\n@$")
    return started


def _asleep(shell: Terminal, way: list[str], name: str = "sleep") -> None:
    """Wait until what the shell started has come to run."""

    def runs() -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):
            for program, pid in children(shell.pid).items():
                below = children(pid) if way else {program: pid}
                if name in below and (not way or "signal-witness" in below):
                    return True
        return False

    until(runs)


@BOTH
def test_keys_reach_the_command_once(
    terminal: Callable[..., Terminal], shell: Terminal, probe: str, way: list[str]
) -> None:
    shell.type(shlex.join([*way, probe, "catch"]) + "\n")
    shell.until(r"^ready \d+$")
    if way:
        _asleep(shell, way, "probe")
    said = ""
    for key, number in (("\x03", 2), ("\x1c", 3), ("\x1a", 20), ("\x03", 2)):
        shell.type(key)
        said += shell.until(f"^{number}$")
        time.sleep(0.02)
    shell.resize(33, 99)
    said += shell.until("^28$") + shell.rest()
    assert re.findall(r"\d+", said) == ["2", "3", "20", "2", "28"]


@BOTH
def test_a_key_ends_it_and_nothing_is_said(shell: Terminal, way: list[str]) -> None:
    for key, status in (("\x03", 130), ("\x1c", 131)):
        shell.type("ulimit -c 0\n")
        shell.type(shlex.join([*way, "sleep", "60"]) + "\n")
        _asleep(shell, way)
        shell.type(key)
        shell.type("echo status $?\n")
        said = shell.until(f"^status {status}$")
        assert "Traceback" not in said and "interrupted" not in said


@BOTH
def test_stopped_continued_and_killed_by_the_shell(shell: Terminal, way: list[str]) -> None:
    shell.type(shlex.join([*way, "sleep", "60"]) + "\n")
    _asleep(shell, way)
    shell.type("\x1a")
    shell.told(r"^\[1\]\+ +Stopped +.*sleep 60$")
    shell.type("fg\n")
    shell.until("sleep 60$")
    until(lambda: _states(shell) == {"S"})
    shell.type("\x1a")
    shell.told(r"^\[1\]\+ +Stopped +.*sleep 60$")
    shell.type("bg\n")
    shell.told(r"^\[1\]\+ .*sleep 60 &$")
    until(lambda: _states(shell) == {"S"})
    shell.type("jobs\n")
    shell.told(r"^\[1\]\+ +Running +.*sleep 60 &$")
    shell.type("kill %1\n")
    shell.told(r"^\[1\]\+ +Terminated +.*sleep 60$")
    shell.type(shlex.join([*way, "sleep", "60"]) + "\n")
    _asleep(shell, way)
    shell.type("\x1a")
    shell.told(r"^\[1\]\+ +Stopped +.*sleep 60$")
    # bash itself continues what it kills, but not always: it may not have taken note of the stop.
    shell.type("kill %1; kill -CONT %1\n")
    shell.told(r"^\[1\]\+ +Terminated +.*sleep 60$")


def _names(shell: Terminal) -> set[str]:
    """Names of all in the shell's session."""
    found = set()
    for pid in _of_session(shell.pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            found.add("python" if name.startswith("python") else name)
    return found


def _states(shell: Terminal) -> set[str]:
    """States of all that the shell has started."""
    return {state_of(pid) for pid in _of_session(shell.pid) if pid != shell.pid}


@BOTH
def test_reading_and_writing_in_the_background(shell: Terminal, way: list[str]) -> None:
    shell.type(shlex.join([*way, "cat"]) + " &\n")
    shell.told(r"^\[1\]\+ +Stopped *(\(tty input\))? +.*cat$")
    shell.type("fg\n")
    shell.until("cat$")
    shell.type("a line\n")
    shell.until("^a line$")
    shell.type("\x04")
    shell.type("echo status $?\n")
    shell.until("^status 0$")
    shell.type(f"stty tostop; {shlex.join([*way, 'sh', '-c', 'echo so; exit 4'])} &\n")
    shell.told(r"^\[1\]\+ +Stopped *(\(tty output\))? +.*$")
    shell.type("fg\n")
    shell.until("^so$")
    shell.type("echo status $?\n")
    shell.until("^status 4$")


@BOTH
def test_an_editor_is_suspended_and_comes_back_once(
    shell: Terminal, probe: str, way: list[str]
) -> None:
    shell.type(shlex.join([*way, probe, "editor"]) + "\n")
    shell.until("^ready$")
    if way:
        _asleep(shell, way, "probe")
    for _ in range(2):
        shell.type("\x1a")
        assert shell.told(r"^\[1\]\+ +Stopped .*$").count("suspending") == 1
        shell.type("fg\n")
        said = shell.until("^back$") + shell.rest()
        assert said.count("continued") == 1
        assert "suspending" not in said
    shell.type("\x03")
    shell.until("^ended$")
    shell.type("echo status $?\n")
    shell.until("^status 7$")


@BOTH
def test_in_a_pipeline(shell: Terminal, way: list[str]) -> None:
    shell.type(shlex.join([*way, "sh", "-c", "sleep 60; echo never"]) + " | cat\n")
    # Not before sleep is sleep: dash waits for its child's exec (vfork), and cannot stop meanwhile.
    names = {"bash", "sh", "sleep", "cat"} | ({"python", "signal-witness"} if way else set())
    until(lambda: _names(shell) == names)
    shell.type("\x1a")
    shell.told(r"^\[1\]\+ +Stopped .*$")
    until(lambda: _states(shell) == {"T"} | ({"S"} if way else set()))  # the witness sleeps
    shell.type("fg\n")
    shell.until("cat$")
    until(lambda: "T" not in _states(shell))
    shell.type("\x03")
    shell.type("echo status $?\n")
    assert "\nnever\n" not in shell.until("^status 130$")


@BOTH
def test_a_terminal_that_goes_away_takes_it_along(
    terminal: Callable[..., Terminal], probe: str, way: list[str], tmp_path: Path
) -> None:
    # As under `ssh -t HOST COMMAND`: the command leads the session, and is told as its leader.
    caught = tmp_path / "caught"
    script = f"exec {shlex.join([*way, probe, 'catch'])} > {caught}"
    leader = terminal("sh", "-c", script)
    until(lambda: caught.exists() and "ready" in caught.read_text())
    if way:
        until(lambda: "signal-witness" in children(leader.pid))
    leader.close()
    until(lambda: "18\n" in caught.read_text())
    time.sleep(ONCE_MORE)
    _, pid, *numbers = caught.read_text().split()
    assert sorted(numbers) == ["1", "18"]
    os.kill(int(pid), signal.SIGKILL)


# ---- tmux ------------------------------------------------------------------------------------


class Tmux:
    """A server of its own, with one window in which bash runs."""

    def __init__(self, socket: Path) -> None:
        self._command = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self("new-session", "-d", "-s", "test", "-x", "150", "-y", "40", "bash --norc --noprofile")

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=PATIENCE
        )  # fmt: skip
        return done.stdout

    def keys(self, *keys: str) -> None:
        self("send-keys", "-t", "test", *keys)

    def until(self, pattern: str) -> None:
        line = re.compile(pattern, re.MULTILINE)
        until(lambda: line.search(self("capture-pane", "-p", "-J", "-t", "test")))


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        pytest.skip("no tmux here")
    server = Tmux(tmp_path / "socket")
    yield server
    server("kill-server")


def test_job_control_in_tmux(tmux: Tmux, tmp_path: Path) -> None:
    running = tmp_path / "running"
    script = f"trap 'exit 5' INT; echo $PPID > {running}; while :; do sleep 1; done"
    tmux.keys(shlex.join([*SUPERVISED, "sh", "-c", script]) + "; echo status $?", "Enter")
    until(lambda: running.exists() and running.read_text().endswith("\n"))
    supervisor = int(running.read_text())
    until(lambda: "signal-witness" in children(supervisor))
    tmux.keys("C-z")
    tmux.until(r"^\[1\]\+ +Stopped")
    assert state_of(supervisor) == "T"
    tmux.keys("clear; fg", "Enter")
    until(lambda: state_of(supervisor) == "S")
    tmux("resize-window", "-t", "test", "-x", "120", "-y", "30")
    tmux.keys("C-c")
    until(lambda: state_of(supervisor) == "X")
    tmux.keys("echo status $?", "Enter")
    tmux.until("^status 5$")


def test_a_window_that_is_closed_takes_it_along(tmux: Tmux, tmp_path: Path) -> None:
    running = tmp_path / "running"
    script = f"echo $PPID $$ > {running}; exec sleep 60"
    tmux("new-window", "-t", "test", shlex.join([*SUPERVISED, "sh", "-c", script]))
    until(lambda: running.exists() and running.read_text().endswith("\n"))
    pids = [int(each) for each in running.read_text().split()]
    tmux("kill-window", "-t", "test")
    until(lambda: [state_of(pid) for pid in pids] == ["X", "X"])
