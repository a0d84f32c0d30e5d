"""A supervised command is as one that was started directly: to itself, its sender, its reader."""

from __future__ import annotations

import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from launch.supervision import (
    BOTH,
    DIRECT,
    PATIENCE,
    SUPERVISED,
    Catcher,
    children,
    run,
    state_of,
    until,
)  # fmt: skip
from xdiag.launch.signals import EVERY
from xdiag.launch.supervise import Ending

# ---- what the command finds ------------------------------------------------------------------


def _many_descriptors(folder: Path) -> None:
    reader, writer = os.pipe()
    os.dup2(writer, 3)
    os.dup2(reader, 11)
    file = os.open(folder / "file", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(file, b"some text")
    os.dup2(file, 7)
    os.dup2(file, 40)
    os.set_blocking(11, False)


def _ignored(*numbers: int) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


CIRCUMSTANCES: dict[str, Callable[[Path], object]] = {
    "plain": lambda _: None,
    "descriptors": _many_descriptors,
    "no stdin": lambda _: os.close(0),
    "no stderr": lambda _: os.close(2),
    "no stdin, no stderr": lambda _: os.closerange(0, 1) or os.close(2),
    "nohup": lambda _: _ignored(signal.SIGHUP),
    "in the background of a script": lambda _: _ignored(signal.SIGINT, signal.SIGQUIT),
    "SIGCHLD ignored": lambda _: _ignored(signal.SIGCHLD),
    "all ignored but what Python ignores": lambda _: _ignored(
        *EVERY - {signal.SIGPIPE, signal.SIGXFSZ}
    ),
    "blocked": lambda _: signal.pthread_sigmask(
        signal.SIG_SETMASK, {signal.SIGUSR2, signal.SIGCHLD, signal.SIGINT, signal.SIGRTMIN + 3}
    ),
    "all blocked": lambda _: signal.pthread_sigmask(signal.SIG_SETMASK, EVERY),
    "umask": lambda _: os.umask(0o27),
    "nice": lambda _: os.nice(5),
    "limits": lambda _: (
        resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99)),
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 22, resource.RLIM_INFINITY)),
    ),
    "one processor": lambda _: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "a timer": lambda _: signal.setitimer(signal.ITIMER_REAL, 100, 50),
}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_the_command_finds_what_it_would_have_found(probe: str, tmp_path: Path, name: str) -> None:
    def found(way: list[str]) -> list[str]:
        (tmp_path / "output").unlink(missing_ok=True)
        with (tmp_path / "output").open("w") as output:
            done = subprocess.run(
                ["some name", "state", "an argument", ""] if not way
                else [*way, probe, "state", "an argument", ""],
                executable=way[0] if way else probe,
                stdin=subprocess.DEVNULL, stdout=output, cwd=tmp_path, timeout=PATIENCE,
                close_fds=False, env={"PATH": os.environ["PATH"], "B": "2\n", "A": "\udcff"},
                preexec_fn=lambda: CIRCUMSTANCES[name](tmp_path),
            )  # fmt: skip
        assert done.returncode == 0
        text = (tmp_path / "output").read_text(errors="surrogateescape")
        return re.sub(r":\[\d+\]", ":[a number]", text).splitlines()

    direct = found(DIRECT)
    assert len(direct) > 30
    supervised = found(SUPERVISED)
    supervised[supervised.index(f"argument 0 {probe}")] = "argument 0 some name"
    assert supervised == direct


@pytest.mark.parametrize("ignored", ["", "PIPE", "XFSZ", "PIPE XFSZ"])
def test_what_a_shell_ignores_stays_ignored(probe: str, ignored: str) -> None:
    trap = f"trap '' {ignored}" if ignored else ":"
    lines = [
        run(["sh", "-c", f"{trap}; {shlex.join([*way, probe, 'state'])}; true"]).stdout
        for way in (DIRECT, SUPERVISED)
    ]
    direct, supervised = (
        [line for line in each.splitlines() if line.startswith("Sig")] for each in lines
    )
    assert direct == supervised
    assert len(direct) == 4


def test_the_name_is_passed_on_as_given(probe: str, tmp_path: Path) -> None:
    (tmp_path / "also").symlink_to(probe)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert "argument 0 also\n" in run(SUPERVISED, "also", "state", env=environ).stdout
    here = run(SUPERVISED, "./also", "state", cwd=tmp_path, env=environ)
    assert "argument 0 ./also\n" in here.stdout


def test_input_and_output_are_the_command_s(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("one\ntwo\nthree\n")
    both = f"read a; {shlex.join([*SUPERVISED, 'sh', '-c', 'read b; echo $b'])}; read c; echo $a $c"
    with (tmp_path / "input").open() as file:
        assert run([], "sh", "-c", both, stdin=file).stdout == "two\none three\n"


# ---- how it ends -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 42, 126, 127, 128, 130, 255])
def test_its_exit_status_is_ours(tmp_path: Path, status: int) -> None:
    told = tmp_path / "ending"
    assert run(SUPERVISED, f"tell={told}", "sh", "-c", f"exit {status}").returncode == status
    ending = msgspec.json.decode(told.read_bytes(), type=Ending)
    assert (ending.status, ending.signal, ending.core) == (status, None, False)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT, signal.SIGKILL,
        signal.SIGSEGV, signal.SIGPIPE, signal.SIGALRM, signal.SIGTERM, signal.SIGUSR1,
        signal.SIGXCPU, signal.SIGXFSZ, signal.SIGRTMIN, 50, signal.SIGRTMAX,
    ],
)  # fmt: skip
def test_the_signal_that_killed_it_kills_us(tmp_path: Path, number: int) -> None:
    def cores(way: list[str], name: str) -> int:
        folder = tmp_path / name
        folder.mkdir()
        done = run(
            way, "sh", "-c", f"kill -{int(number)} $$", cwd=folder,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30)),
        )  # fmt: skip
        assert done.returncode == -number
        assert done.stderr == ""
        # What is left is the command's, not ours.
        assert all(b"supervised.py" not in each.read_bytes() for each in folder.iterdir())
        return len(list(folder.iterdir()))

    told = tmp_path / "ending"
    assert cores([*SUPERVISED, f"tell={told}"], "supervised") == cores(DIRECT, "direct")
    ending = msgspec.json.decode(told.read_bytes(), type=Ending)
    assert (ending.status, ending.signal) == (None, number)


def test_a_signal_that_comes_too_late_changes_nothing() -> None:
    assert run(SUPERVISED, "late=1", "sh", "-c", "exit 3").returncode == 3


def test_a_shell_sees_128_and_the_signal() -> None:
    for way in (DIRECT, SUPERVISED):
        command = shlex.join([*way, "sh", "-c", "kill -SEGV $$"])
        assert run([], "sh", "-c", f"({command}) 2>/dev/null; echo $?").stdout == "139\n"


def test_a_core_is_told_of(tmp_path: Path) -> None:
    told = tmp_path / "ending"
    for most, core in ((0, False), (1 << 30, True)):
        run(
            SUPERVISED, f"tell={told}", "sh", "-c", "kill -ABRT $$", cwd=tmp_path,
            preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_CORE, (most, 1 << 30)),
        )  # fmt: skip
        if core and Path("/proc/sys/kernel/core_pattern").read_text() != "core\n":
            return  # where cores go elsewhere, whether one was written is not ours to say
        assert msgspec.json.decode(told.read_bytes(), type=Ending).core is core


def test_who_outlives_it_is_left_alone(tmp_path: Path) -> None:
    start = time.monotonic()
    done = run(SUPERVISED, "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")
    pid = int(done.stdout)
    try:
        assert done.returncode == 0
        assert time.monotonic() - start < PATIENCE / 2
        time.sleep(0.1)
        assert state_of(pid) == "S"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_other_children_are_not_waited_for(tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run(SUPERVISED, f"other={other}", "sh", "-c", "sleep 0.1; exit 3").returncode == 3
    assert other.read_text() == "9"


def test_a_pipe_is_at_its_end_when_the_command_has_closed_it() -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*SUPERVISED, "sh", "-c", "exec >&- <&- 9>&-; exec sleep 60"], close_fds=False,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lambda: os.dup2(writer, 9),
    ) as process:  # fmt: skip
        os.close(writer)
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.read() == b""
        assert os.read(reader, 1) == b""
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            process.stdin.write(bytes(1 << 20))  # more than a pipe takes
        assert process.poll() is None
        process.terminate()
        with suppress(BrokenPipeError):
            process.stdin.close()
        assert process.wait(PATIENCE) == -signal.SIGTERM


# ---- what cannot be started ------------------------------------------------------------------


def _file(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        (["nosuch"], 2, "nosuch: no such command in PATH"),
        (["./no\nsuch"], 2, "'./no\\nsuch': no such file"),
        (["./plain/below"], 2, "./plain/below: no such file"),
        ([], 2, "no command to start"),
        ([""], 2, "no command to start"),
        (["./folder"], 2, "./folder: a directory, no command"),
        (["./plain"], 3, "./plain: may not be executed (chmod +x, if it is a program)"),
        (["plain"], 3, "bin/plain: may not be executed"),
        (["./bare"], 3, "no script that begins with #! (no shell is started; if it is a shell"),
        (["./lost"], 3, "./lost: its interpreter is missing: /no/such/interpreter"),
        (["lost"], 3, "bin/lost: its interpreter is missing: /no/such/interpreter"),
        (["./foreign"], 3, "./foreign: its interpreter is missing: /lib/ld-other.so.1"),
        (["./loop"], 3, "./loop: cannot be executed: Too many levels of symbolic links"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_told_in_one_line(
    tmp_path: Path, command: list[str], status: int, says: str
) -> None:
    for folder in (tmp_path, tmp_path / "bin"):
        (folder / "folder").mkdir(parents=True)
        _file(folder / "plain", "#!/bin/sh\n", 0o644)
        _file(folder / "bare", "echo started\n", 0o755)
        _file(folder / "lost", "#! /no/such/interpreter -x\n", 0o755)
        (folder / "loop").symlink_to("loop")
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    subprocess.run(
        ["cc", "-Wl,--dynamic-linker=/lib/ld-other.so.1", "-o", "foreign", "empty.c"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    done = run(SUPERVISED, *command, cwd=tmp_path, env={"PATH": "/no/such:bin:/usr/bin"})
    assert done.returncode == status
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_file_that_may_not_be_executed_does_not_hide_one_that_may(tmp_path: Path) -> None:
    for folder, mode in (("a", 0o644), ("b", 0o755)):
        (tmp_path / folder).mkdir()
        _file(tmp_path / folder / "tool", "#!/bin/sh\necho $0\n", mode)
    done = run(SUPERVISED, "tool", cwd=tmp_path, env={"PATH": "a:b"})
    assert done.stdout == "b/tool\n"


def test_an_argument_that_is_too_long_for_the_kernel() -> None:
    code = (
        "import sys; from xdiag.launch.supervise import supervise\n"
        "try: supervise(['true', *{!r}], {{'PATH': '/usr/bin:/bin'}})\n"
        "except Exception as error: print(type(error).__name__, error, file=sys.stderr)"
    )
    long = run([sys.executable, "-"], input=code.format(["x" * 200_000]))
    assert long.stderr == "CannotRun /usr/bin/true: cannot be executed: Argument list too long\n"
    nul = run([sys.executable, "-"], input=code.format(["a\0b"]))
    assert nul.stderr == "Usage true: an argument or variable of it contains a NUL\n"


# ---- signals ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("where", ["", "own-group", "own-session"])
def test_each_signal_sent_to_us_reaches_the_command_once(
    catcher: Callable[..., Catcher], way: list[str], where: str
) -> None:
    started = catcher(way, where)
    for number in sorted(EVERY):
        os.kill(started.process.pid, number)
        started.read(lambda: started.text.endswith("\n"))
        assert started.text == f"{number}\n", number
        started.text = ""
    assert started.got(0) == []


GROUP_SIGNALS = [
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT,
    signal.SIGWINCH, signal.SIGCHLD, signal.SIGRTMIN + 1,
]  # fmt: skip


@BOTH
def test_a_signal_to_the_whole_group_is_not_passed_on_besides(
    catcher: Callable[..., Catcher], way: list[str]
) -> None:
    started = catcher(way)
    for number in GROUP_SIGNALS * 2:
        os.killpg(started.group, number)
        started.read(lambda: started.text.endswith("\n"))
        assert started.text == f"{number}\n"
        started.text = ""
    assert started.got(0) == []
    for _ in range(5):
        os.killpg(started.group, signal.SIGRTMIN + 2)
    assert started.got(5) == [signal.SIGRTMIN + 2] * 5
    # And what came for all does not hide what comes for us alone.
    for number in GROUP_SIGNALS:
        os.kill(started.process.pid, number)
        started.read(lambda: started.text.endswith("\n"))
        assert started.text == f"{number}\n"
        started.text = ""
    assert started.got(0) == []


def test_a_signal_to_each_of_the_processes_is_not_passed_on_besides(
    catcher: Callable[..., Catcher],
) -> None:
    # As Slurm and systemd do it: one after the other.
    started = catcher(SUPERVISED)
    everybody = [started.process.pid, *children(started.process.pid).values()]
    assert len(everybody) == 3
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT):
        for pid in everybody:
            os.kill(pid, number)
        assert started.got(1) == [number]


def test_without_a_witness_signals_arrive_all_the_same(catcher: Callable[..., Catcher]) -> None:
    started = catcher(SUPERVISED)
    os.kill(children(started.process.pid)["signal-witness"], signal.SIGKILL)
    os.kill(started.process.pid, signal.SIGUSR1)
    assert started.got(1) == [signal.SIGUSR1]


def test_we_are_not_found_under_our_name_twice(catcher: Callable[..., Catcher]) -> None:
    # pkill -f supervised.py means us alone; were the witness meant too, we would think all were.
    started = catcher(SUPERVISED)
    witness = children(started.process.pid)["signal-witness"]
    until(lambda: b"supervised" not in Path(f"/proc/{witness}/cmdline").read_bytes())
    assert list(Path(f"/proc/{witness}/fd").iterdir()) == []


@BOTH
def test_a_command_that_signals_its_group_is_not_signalled_back(way: list[str]) -> None:
    script = "trap 'echo got' USR1; kill -USR1 0; sleep 0.2; (kill -USR1 0); sleep 0.2"
    assert run(way, "sh", "-c", script, start_new_session=True).stdout == "got\ngot\n"


@BOTH
def test_a_timer_that_ran_before_runs_on(catcher: Callable[..., Catcher], way: list[str]) -> None:
    started = catcher(way, preexec_fn=lambda: signal.setitimer(signal.ITIMER_REAL, 1.0))
    assert started.got(1) == [signal.SIGALRM]


@BOTH
def test_timeout_ends_it(way: list[str]) -> None:
    done = run(["timeout", "0.5"], *way, "sh", "-c", "trap 'echo got; exit 5' TERM; sleep 9 & wait")
    assert done.returncode == 124
    assert done.stdout == "got\n"


# ---- stopped and continued -------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A supervisor and what it supervises, which sleeps."""
    # A group of its own in our session: only there have SIGTSTP and its like an effect.
    process = subprocess.Popen([*SUPERVISED, "sleep", "60"], preexec_fn=os.setpgrp)
    until(lambda: {"sleep", "signal-witness"} <= set(children(process.pid)))
    yield process, children(process.pid)["sleep"]
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize(
    ("stops", "number", "continues"),
    [
        ("command", signal.SIGSTOP, "command"),
        ("command", signal.SIGSTOP, "supervisor"),
        ("command", signal.SIGSTOP, "group"),
        ("group", signal.SIGSTOP, "group"),
        ("group", signal.SIGSTOP, "supervisor"),
        ("supervisor", signal.SIGTSTP, "supervisor"),
        ("group", signal.SIGTSTP, "group"),
        ("command", signal.SIGTTIN, "command"),
        ("command", signal.SIGTTOU, "group"),
    ],
)
def test_we_stop_with_it_and_go_on_with_it(
    sleeper: tuple[subprocess.Popen[bytes], int], stops: str, number: int, continues: str
) -> None:
    process, command = sleeper
    pids = {"command": command, "supervisor": process.pid, "group": -process.pid}
    for _ in range(2):
        os.kill(pids[stops], number)
        until(lambda: state_of(process.pid) == state_of(command) == "T")
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WSTOPSIG(status) == number
        os.kill(pids[continues], signal.SIGCONT)
        until(lambda: state_of(process.pid) == state_of(command) == "S")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM


def test_a_late_continuation_does_not_undo_the_next_stop(
    sleeper: tuple[subprocess.Popen[bytes], int],
) -> None:
    # fg and Ctrl-Z at once, where we take the first for our own: it is passed on, and late.
    process, command = sleeper
    for _ in range(3):
        os.killpg(process.pid, signal.SIGTSTP)
        until(lambda: state_of(process.pid) == state_of(command) == "T")
        os.kill(command, signal.SIGCONT)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.003)
        os.killpg(process.pid, signal.SIGTSTP)
        time.sleep(0.1)
        until(lambda: state_of(process.pid) == state_of(command) == "T")
        os.killpg(process.pid, signal.SIGCONT)
        until(lambda: state_of(process.pid) == state_of(command) == "S")


def test_a_late_stop_does_not_undo_the_next_continuation(
    sleeper: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, command = sleeper
    for _ in range(3):
        os.kill(process.pid, signal.SIGTSTP)  # for the command alone: it gets it a little later
        time.sleep(0.003)
        os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.1)
        until(lambda: state_of(process.pid) == state_of(command) == "S")


def test_a_command_killed_while_stopped_is_told_of(
    sleeper: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, command = sleeper
    os.kill(command, signal.SIGSTOP)
    until(lambda: state_of(process.pid) == "T")
    os.kill(command, signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL


# ---- killed ----------------------------------------------------------------------------------


def test_the_command_dies_with_us(sleeper: tuple[subprocess.Popen[bytes], int]) -> None:
    process, command = sleeper
    witness = children(process.pid)["signal-witness"]
    process.kill()
    process.wait()
    until(lambda: state_of(command) in "XZ" and state_of(witness) in "XZ")


def test_a_command_whose_supervisor_died_first_is_not_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    done = run(SUPERVISED, "orphan=1", "touch", str(started))  # returns when all writers are gone
    assert done.returncode == -signal.SIGKILL
    assert not started.exists()


# ---- ticks -----------------------------------------------------------------------------------


def test_it_ticks_while_the_command_runs_and_once_after(tmp_path: Path) -> None:
    ticks, ended = tmp_path / "ticks", tmp_path / "ended"
    script = f"sleep 1; cut -d' ' -f1 /proc/uptime > {ended}"
    assert run(SUPERVISED, f"ticks={ticks}", "sh", "-c", script).returncode == 0
    times = [float(each) for each in ticks.read_text().split()]
    assert 3 <= len(times) <= 12
    assert min(b - a for a, b in pairwise(times[:-1])) > 0.09
    assert times[-1] >= float(ended.read_text()) - 0.02  # uptime is told in hundredths
    quick = tmp_path / "quick"
    assert run(SUPERVISED, f"ticks={quick}", "true").returncode == 0
    assert len(quick.read_text().split()) == 1


@pytest.mark.parametrize("which", [1, 2])
def test_a_tick_that_fails_does_not_harm_the_command(tmp_path: Path, which: int) -> None:
    ticks, done = tmp_path / "ticks", tmp_path / "done"
    ended = run(
        SUPERVISED, f"ticks={ticks}", f"fail={which}", "sh", "-c", f"sleep 0.5; touch {done}"
    )  # fmt: skip
    assert "ValueError: a tick that fails" in ended.stderr
    assert done.exists()
    assert len(ticks.read_text().split()) == which


def test_waiting_costs_less_than_half_a_percent_of_a_processor(tmp_path: Path) -> None:
    def spent(*pids: int) -> int:
        """Nanoseconds on a processor."""
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids)

    with subprocess.Popen([*SUPERVISED, f"ticks={tmp_path / 'ticks'}", "sleep", "60"]) as process:
        until(lambda: {"sleep", "signal-witness"} <= set(children(process.pid)))
        pids = process.pid, children(process.pid)["signal-witness"]
        parts = []
        for _ in range(5):
            start, before = time.monotonic_ns(), spent(*pids)
            time.sleep(0.4)
            parts.append((spent(*pids) - before) / (time.monotonic_ns() - start))
        process.terminate()
    assert sorted(parts)[2] < 0.005
    assert sum(parts) > 0  # it did tick
