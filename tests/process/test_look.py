"""Who the process is, what may not be read, and that it does not notice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes.conftest import compile_library, in_fork

from process.conftest import Opener, may, needs_mounts, needs_root
from xdiag.errors import CannotRun
from xdiag.process.errors import NothingToSee, Refused, Vanished
from xdiag.process.look import look
from xdiag.process.proc import Proc

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


def test_who_it_is(start: Start, program: Path) -> None:
    before = time.time()
    opener = start()
    facts = look(opener.pid)
    assert (facts.pid, facts.name, facts.program) == (opener.pid, "opener", str(program))
    assert facts.command == (str(program),)
    assert (facts.user, facts.threads, facts.state) == (os.geteuid(), 1, facts.state)
    assert facts.state in ("S", "R")
    assert facts.started is not None and abs(facts.started - before) < 3
    assert facts.other_namespaces == () and facts.inner_pids == ()
    assert facts.copies == () and facts.agent == ""
    assert facts.objects[0].path == str(program)


def test_gpu_descriptors(start: Start, tmp_path: Path) -> None:
    nodes = [f"/dev/dri/renderD{number}" for number in range(128, 136)]
    there = next((node for node in ["/dev/kfd", *nodes] if os.access(node, os.R_OK)), None)
    if there is not None:
        facts = look(start(f"device {there}", f"device {there}").pid)
        assert [(each.path, len(each.numbers)) for each in facts.devices] == [(there, 2)]
    # A file of the same base name is none.
    (tmp_path / "kfd").write_text("")
    assert look(start(f"device {tmp_path}/kfd").pid).devices == ()


@needs_mounts
def test_device_nodes_by_their_place_in_the_process(start: Start, program: Path) -> None:
    """Without a GPU: files put where its nodes would be, in a mount namespace."""
    script = (
        "mount -t tmpfs none /dev && mkdir /dev/dri && touch /dev/kfd /dev/dri/renderD128"
        ' && exec "$0"'
    )
    opener = start(
        "device /dev/kfd", "device /dev/dri/renderD128", "device /dev/kfd",
        before=["unshare", "-m", "sh", "-c", script],
    )  # fmt: skip
    devices = look(opener.pid).devices
    assert [each.path for each in devices] == ["/dev/dri/renderD128", "/dev/kfd"]
    assert [len(each.numbers) for each in devices] == [1, 2]


def test_a_process_in_namespaces_of_its_own(start: Start, runtime: Runtime) -> None:
    if not may("unshare", "-m", "-p", "-f", "--mount-proc", "true"):
        pytest.skip("pid namespaces are not permitted here")
    real = runtime("a/libamdhip64.so.6")
    opener = start(
        f"open {real}", before=["unshare", "-m", "-p", "-f", "--mount-proc"]
    )  # fmt: skip
    facts = look(opener.pid)
    assert set(facts.other_namespaces) == {"mnt", "pid"}
    assert facts.inner_pids == (opener.pid, 1)
    assert [copy.object.path for copy in facts.copies] == [str(real)]


# ---- no effect -------------------------------------------------------------------------------


def test_the_process_does_not_notice(start: Start, runtime: Runtime) -> None:
    opener = start(f"open {runtime('a/libamdhip64.so.6')}")
    proc = Path("/proc") / str(opener.pid)

    def seen() -> tuple[str, list[str]]:
        status = (proc / "status").read_text()
        kept = [line for line in status.splitlines() if "ctxt_switches" not in line]
        return (proc / "maps").read_text(), kept

    while "State:\tS" not in (proc / "status").read_text():
        time.sleep(0.001)  # it has answered, and goes to sleep
    before = seen()
    for _ in range(20):
        look(opener.pid)
    assert seen() == before
    assert "TracerPid:\t0" in before[1]


def test_it_is_never_traced_nor_stopped(start: Start, runtime: Runtime) -> None:
    """The process looks at itself all the time, while it is looked at all the time."""
    opener = start(f"open {runtime('a/libamdhip64.so.6')}")
    looks = 0
    done = threading.Event()

    def look_on() -> None:
        nonlocal looks
        while not done.is_set():
            look(opener.pid)
            looks += 1

    thread = threading.Thread(target=look_on)
    thread.start()
    said = opener.tell("watch-self")
    done.set()
    thread.join()
    assert said == "0 of 3000\n"
    assert looks >= 3


def test_nothing_of_it_stays_open(start: Start, runtime: Runtime) -> None:
    opener = start(f"open {runtime('a/libamdhip64.so.6')}")
    look(opener.pid)
    before = os.listdir("/proc/self/fd")
    look(opener.pid)
    with pytest.raises(Vanished):
        look(1 << 22)
    assert os.listdir("/proc/self/fd") == before


# ---- what cannot be looked at ----------------------------------------------------------------


def _refusal(pid: int) -> str:
    with pytest.raises(CannotRun) as caught:
        look(pid)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_such_process() -> None:
    assert "there is no process 4194305 here" in _refusal(4194305)
    assert "there is no process 0" in _refusal(0)
    assert "there is no process" in _refusal(1 << 40)


def test_a_zombie() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert "waits to be reaped by its parent" in _refusal(process.pid)


def test_a_process_whose_main_thread_has_ended(start: Start, runtime: Runtime) -> None:
    real = runtime("a/libamdhip64.so.6")
    opener = start(f"open {real}", "end-main-thread")
    for _ in range(100):
        if "Z" in Path(f"/proc/{opener.pid}/status").read_text().split("State:")[1][:4]:
            break
        time.sleep(0.01)
    facts = look(opener.pid)
    assert facts.state == "Z"
    assert [copy.object.path for copy in facts.copies] == [str(real)]


def test_a_thread_is_shown_as_its_process() -> None:
    number: list[int] = []
    done = threading.Event()

    def wait() -> None:
        number.append(threading.get_native_id())
        done.wait(20)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        while not number:
            time.sleep(0.001)
        facts = look(number[0])
    finally:
        done.set()
        thread.join()
    assert facts.notes == (f"{number[0]} is a thread of process {os.getpid()}",)
    assert facts.program == os.path.realpath(sys.executable)


def test_a_thread_of_the_kernel() -> None:
    try:
        name = Path("/proc/2/comm").read_text()
    except OSError:
        name = ""
    if name != "kthreadd\n":
        pytest.skip("the kernel's threads are not shown here")
    assert "process 2 (kthreadd) is a thread of the kernel" in _refusal(2)


def test_a_32_bit_program(tmp_path: Path) -> None:
    """Assembled by hand: pause() for ever."""
    code = bytes.fromhex("b81d000000cd80ebf7")  # mov $29, %eax; int $0x80; jmp back
    header = bytes.fromhex("7f454c46010101000000000000000000") + b"".join(
        value.to_bytes(size, "little")
        for value, size in (
            (2, 2), (3, 2), (1, 4), (0x8048054, 4), (52, 4), (0, 4), (0, 4), (52, 2), (32, 2),
            (1, 2), (0, 2), (0, 2), (0, 2),
            (1, 4), (0, 4), (0x8048000, 4), (0x8048000, 4), (0x5D, 4), (0x5D, 4), (5, 4),
            (0x1000, 4),
        )
    )  # fmt: skip
    small = tmp_path / "small"
    small.write_bytes(header + code)
    small.chmod(0o755)
    try:
        process = subprocess.Popen([small])
    except OSError:
        pytest.skip("32-bit programs do not run here")
    try:
        assert "is a 32-bit program" in _refusal(process.pid)
    finally:
        process.kill()
        process.wait()


@needs_root
def test_another_users_process(start: Start) -> None:
    opener = start()
    status, said = in_fork(lambda: look(opener.pid), user=65534)
    assert status == 3
    assert said == (
        f"process {opener.pid} (opener) belongs to root: run as that user or as root:"
        f" sudo xdiag inspect {opener.pid}"
    )


@needs_root
def test_root_without_the_capability(start: Start) -> None:
    """As in a container: root, and another user's process."""
    sleeper = subprocess.Popen(["setpriv", "--reuid", "65534", "--clear-groups", "sleep", "60"])
    try:
        for _ in range(200):
            if f"Uid:\t{65534}" in Path(f"/proc/{sleeper.pid}/status").read_text():
                break
            time.sleep(0.01)
        script = f"from xdiag.process.look import look; look({sleeper.pid})"
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace",
             sys.executable, "-c", script], capture_output=True, text=True,
        )  # fmt: skip
        assert "this root has no CAP_SYS_PTRACE" in done.stderr
        assert "--cap-add SYS_PTRACE" in done.stderr
    finally:
        sleeper.kill()
        sleeper.wait()


@needs_root
def test_a_process_that_forbids_it_to_its_own_user(runtime: Runtime) -> None:
    script = (
        "import ctypes, os; os.setgroups([]); os.setresgid(65534, 65534, 65534);"
        "os.setresuid(65534, 65534, 65534); ctypes.CDLL(None).prctl(4, 0);"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        status, said = in_fork(lambda: look(process.pid), user=65534)
        process.kill()
    assert status == 3
    # Such a process's files belong to root, whoever runs it: proc(5).
    assert "is yours and may still not be read" in said or "belongs to root" in said


@needs_mounts
def test_a_memory_that_may_not_be_read_leaves_the_rest(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    """As Yama's ptrace_scope has it: maps, files and descriptors yes, memory no."""
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/renamed.so")
    opener = start(f"open {a}", f"open {b}")
    script = (
        "import sys; from xdiag.process.look import look; from xdiag.process.memory import"
        " ProcessMemory; import msgspec; sys.stdout.buffer.write("
        f"msgspec.json.encode(look({opener.pid})))"
    )
    (tmp_path / "empty").write_text("")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c",
         f'mount --bind {tmp_path}/empty /proc/{opener.pid}/mem; exec "$@"', "sh",
         sys.executable, "-c", script], capture_output=True,
    )  # fmt: skip
    if b"mount" in done.stderr:
        pytest.skip("this kernel lets nothing be mounted over a file of /proc")
    import msgspec

    from xdiag.process.facts import ProcessFacts

    facts = msgspec.json.decode(done.stdout, type=ProcessFacts)
    assert {copy.object.path for copy in facts.copies} == {str(a), str(b)}
    assert {copy.object.order for copy in facts.copies} == {None}
    assert facts.namespaces == 0 and facts.link_map_problem


def test_refusals_of_the_memory_alone(
    start: Start, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same without mounts: the kernel's answer is put in where the memory is opened."""
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {a}", f"open {b}")
    real = Proc.open

    def refuse(self: Proc, name: str, flags: int = os.O_RDONLY) -> int:
        if name.endswith("mem") or name.startswith("map_files"):
            raise Refused(self.why_refused())
        return real(self, name, flags)

    monkeypatch.setattr(Proc, "open", refuse)
    facts = look(opener.pid)
    assert {copy.object.path for copy in facts.copies} == {str(a), str(b)}
    assert "Yama's ptrace_scope" in facts.link_map_problem
    # And of a file that is gone nothing but its name is known.
    a.unlink()
    copy = next(copy for copy in look(opener.pid).copies if copy.object.path == str(a))
    assert copy.object.at_path == "gone" and copy.object.soname == ""
    assert "may not be read in another way" in copy.object.problem


# ---- another process with the same number ----------------------------------------------------

_REUSE = """
import os, sys
from xdiag.process.errors import Vanished
from xdiag.process.proc import Proc

def child():
    pid = os.fork()
    if pid == 0:
        import time
        time.sleep(60)
    return pid

first = child()
proc = Proc(first)
assert proc.is_there() and proc.read("stat")
os.kill(first, 9)
os.waitpid(first, 0)
open("/proc/sys/kernel/ns_last_pid", "w").write(str(first - 1))
second = child()
assert second == first, (first, second)
assert not proc.is_there()
try:
    proc.read("stat")
except Vanished as error:
    print("vanished:", error)
with Proc(second) as other:
    assert other.is_there()
os.kill(second, 9)
"""


def test_a_number_that_another_process_has_got() -> None:
    inside = ["unshare", "-m", "-p", "-f", "--mount-proc"]
    if not may(*inside, "sh", "-c", "echo 100 > /proc/sys/kernel/ns_last_pid"):
        pytest.skip("pid namespaces are not permitted here")
    done = subprocess.run(
        [*inside, sys.executable, "-c", _REUSE], capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("vanished: process ")


def test_it_ends_while_it_is_looked_at(start: Start, runtime: Runtime) -> None:
    opener = start(f"open {runtime('a/libamdhip64.so.6')}")
    with Proc(opener.pid) as process:
        os.kill(opener.pid, signal.SIGKILL)
        opener.process.wait()
        with pytest.raises(Vanished, match=f"process {opener.pid} has ended"):
            process.read("maps")
    with pytest.raises((Vanished, NothingToSee)):
        look(opener.pid)


def test_a_program_started_through_the_loader(
    start: Start, runtime: Runtime, program: Path
) -> None:
    """The auxiliary vector describes the loader then, and the program has to be found."""
    from xdiag.discover import elf
    from xdiag.discover.root import Root

    loader = elf.read(str(program), Root("/")).interpreter
    a, b = runtime("b/libamdhip64.so.6"), runtime("a/libamdhip64.so.6")
    facts = look(start(f"open {a}", f"open {b}", before=[loader]).pid)
    assert [copy.object.path for copy in facts.copies] == [str(a), str(b)]
    assert facts.link_map_problem == ""
    assert facts.program == os.path.realpath(loader)


def test_a_static_program_has_no_list(start: Start, tmp_path: Path) -> None:
    source = tmp_path / "static.c"
    source.write_text(
        '#include <stdio.h>\nint main(void) { puts("done"); fflush(stdout); return getchar(); }'
    )
    static = tmp_path / "static"
    built = subprocess.run(
        ["cc", "-static", source, "-o", static], capture_output=True, check=False
    )  # fmt: skip
    if built.returncode:
        pytest.skip("static programs cannot be built here")
    facts = look(start(program=static).pid)
    assert "the program has no link map" in facts.link_map_problem
    assert facts.copies == ()


def test_hundreds_of_libraries(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    """As many as a framework's process has; the one that opened the runtime is among them."""
    plain = compile_library(tmp_path / "libplain.so", "int f(void) { return 1; }")
    many = [Path(shutil.copy(plain, tmp_path / f"lib{number}.so")) for number in range(400)]
    named = compile_library(tmp_path / "libnamed.so", 'const char *name = "libamdhip64.so";')
    real = runtime("a/libamdhip64.so.6")
    opener = start(*(f"open {each}" for each in (*many, named, real)))
    begun = time.monotonic()
    facts = look(opener.pid)
    took = time.monotonic() - begun
    assert len(facts.objects) > 400
    (copy,) = facts.copies
    assert copy.possible_openers == (f"{named}: it contains the name libamdhip64",)
    assert took < 1
