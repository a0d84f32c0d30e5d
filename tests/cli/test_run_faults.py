"""``xdiag run`` on commands that go wrong, or that nothing should be started for."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launch.supervision import until
from process.conftest import needs_root

from xdiag.recording.create import create

Run = Callable[..., subprocess.CompletedProcess[str]]

NOBODY = 65534
SEEN = "no HIP runtime was loaded in the"


@pytest.fixture
def run(home: dict[str, str], tmp_path: Path) -> Run:
    """``run("--repair", "none", "--", "true")``: xdiag run, in a directory of its own."""
    here = tmp_path / "here"
    here.mkdir()

    def started(
        *arguments: str, cwd: Path = here, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xdiag", "run", *arguments], env={**home, **variables}, cwd=cwd,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    return started


# ---- what was seen ---------------------------------------------------------------------------


def test_a_report_speaks_of_the_processes_that_were_seen(run: Run) -> None:
    done = run("--", "sh", "-c", f"unset LD_AUDIT; {sys.executable} -c pass")
    assert done.returncode == 0, done.stderr
    # The shell alone was seen.
    assert f"{SEEN} 1 process that was seen (" in done.stderr
    assert "python" not in done.stderr.rpartition(SEEN)[2]


@pytest.mark.parametrize("way", [["-u", "LD_AUDIT"], ["-i"]])
@pytest.mark.parametrize("repair", ["none", "auto", "unify"])
def test_a_command_that_clears_the_variable_is_told_of_beforehand(
    run: Run, way: list[str], repair: str
) -> None:
    done = run("--repair", repair, "--", "env", *way, sys.executable, "-c", "print('started')")
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
    before = done.stderr.partition("xdiag: the command ended")[0]
    assert "the command sets or clears LD_AUDIT itself: what the program does is not" in before
    assert f"{SEEN} 1 process that was seen (env)" in done.stderr


# ---- what belongs to others ------------------------------------------------------------------


@pytest.fixture
def theirs() -> Iterator[Path]:
    """Another user's directory with a script, a program, a module and a library, for root."""
    folder = Path(tempfile.mkdtemp())
    for name, text in (
        ("x.sh", "#!/bin/sh\necho started\n"),
        ("m.py", "print('started')\n"),
        ("plain", "echo started\n"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    shutil.copy(shutil.which("true") or "/bin/true", folder / "bin1")
    for path in (*folder.iterdir(), folder):
        path.chmod(0o755)
        os.chown(path, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


WAYS = {
    "a script": ["{0}/x.sh"],
    "a program": ["{0}/bin1"],
    "a shell's script": ["sh", "{0}/plain"],
    "a shell's script from here": ["sh", "plain"],
    "bash": ["bash", "x.sh"],
    "nice": ["nice", "{0}/x.sh"],
    "timeout": ["timeout", "5", "{0}/x.sh"],
    "env": ["env", "{0}/x.sh"],
    "env and PATH": ["env", "PATH={0}:/usr/bin:/bin", "x.sh"],
    "a shell's line": ["sh", "-c", "{0}/bin1"],
    "in a shell's line": ["sh", "-c", "cd / && exec '{0}/x.sh'; true"],
    "an option": ["sh", "-c", "true", "--hook={0}/x.sh"],
    "a module from here": [sys.executable, "-m", "m"],
    "Python's line from here": [sys.executable, "-c", "import m"],
    "Python's script": [sys.executable, "m.py"],
    "PYTHONPATH": ["env", "PYTHONPATH={0}", sys.executable, "-c", "import m"],
}


@needs_root
@pytest.mark.parametrize("way", WAYS)
def test_root_does_not_run_what_belongs_to_others(run: Run, theirs: Path, way: str) -> None:
    command = [word.format(theirs) for word in WAYS[way]]
    here = {} if any(str(theirs) in word for word in command) else {"cwd": theirs}
    done = run("--repair", "none", "--", *command, **here)
    assert done.returncode == 3 and "started" not in done.stdout, done.stderr
    assert f"you are root, and {theirs} belongs to user " in done.stderr
    assert done.stderr.count("\n") == 1 and "--allow-root" in done.stderr
    allowed = run("-q", "--repair", "none", "--allow-root", "--", *command, **here)
    assert allowed.returncode == 0, allowed.stderr


@needs_root
def test_root_does_not_run_what_variables_of_its_own_lead_to(run: Run, theirs: Path) -> None:
    for command in ([sys.executable, "-c", "import m"], ["sh", "-c", "python3 -c 'import m'"]):
        done = run("--", *command, PYTHONPATH=str(theirs))
        assert done.returncode == 3 and f"{theirs} belongs to" in done.stderr
    done = run("--", "x.sh", PATH=f"{theirs}:{os.environ['PATH']}")
    assert done.returncode == 3 and f"{theirs} belongs to" in done.stderr


@needs_root
def test_root_runs_what_is_its_own(run: Run, tmp_path: Path, theirs: Path) -> None:
    script = tmp_path / "own.sh"
    script.write_text("#!/bin/sh\necho started\n")
    script.chmod(0o755)
    # The shell's script is not affected by whose directory it is started in.
    done = run("--", "nice", str(script), cwd=theirs)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr


# ---- the record ------------------------------------------------------------------------------


@contextlib.contextmanager
def running(
    home: dict[str, str], folder: Path, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A run whose command waits for a file called ``go`` in ``folder``; the command's process."""
    wait = f"echo $$; while ! test -e '{folder}/go'; do sleep 0.05; done; exit 5"
    process = subprocess.Popen(
        [sys.executable, "-m", "xdiag", "run", *arguments, "--", "sh", "-c", wait], env=home,
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def records(home: dict[str, str]) -> list[Path]:
    return [*Path(home["XDG_CACHE_HOME"], "xdiag", "records").iterdir()]


def test_two_runs_do_not_share_a_record(run: Run, home: dict[str, str], tmp_path: Path) -> None:
    record = tmp_path / "record"
    with running(home, tmp_path, "--record", str(record)) as (first, _):
        second = run("--record", str(record), "--", sys.executable, "-c", "print('started')")
        assert (second.returncode, second.stdout) == (3, ""), second.stderr
        assert second.stderr == (
            f"xdiag: {record} is the record of a run that is not over:"
            " wait for it, or name another file\n"
        )
        (tmp_path / "go").touch()
        _, told = first.communicate(timeout=30)
    assert first.returncode == 5
    assert "no HIP runtime was loaded in the" in told
    # Its run is over.
    third = run("--record", str(record), "--", "true")
    assert third.returncode == 0, third.stderr


def test_another_file_in_the_records_place_is_not_taken_for_it(
    home: dict[str, str], tmp_path: Path
) -> None:
    record = tmp_path / "record"
    with running(home, tmp_path, "--record", str(record)) as (process, _):
        record.rename(tmp_path / "moved")
        create(record, command=["another"]).close()
        (tmp_path / "go").touch()
        _, told = process.communicate(timeout=30)
    assert process.returncode == 5
    assert f"{record} was replaced or removed: what this run did is not known" in told
    assert SEEN not in told


def test_what_a_killed_run_left_is_removed_by_a_later_one(
    run: Run, home: dict[str, str], tmp_path: Path
) -> None:
    with running(home, tmp_path) as (killed, command):
        killed.kill()
        killed.wait()
        # The command is killed with it.
        until(lambda: not Path(f"/proc/{command}/exe").exists())
    (left,) = records(home)
    assert [each.name for each in left.iterdir()] == ["record"]
    log, other = left.parent / "hook-left", left.parent / "precious"
    for each in (log, other):
        each.touch()
    assert run("--", "true").returncode == 0
    assert sorted(records(home)) == sorted([left, log, other])  # too young
    with running(home, tmp_path):
        (lives,) = set(records(home)) - {left, log, other}
        for each in (left, log, other, lives):
            os.utime(each, (0, 0))
        assert run("--", "true").returncode == 0
        assert sorted(records(home)) == sorted([lives, other])
        assert (lives / "record").exists()


@pytest.mark.parametrize(("size", "threads"), [("40m", 375), ("10m", 23)])
def test_on_a_small_disk_the_record_is_smaller(
    run: Run, home: dict[str, str], tmp_path: Path, size: str, threads: int
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size={size},mode=700 tmpfs {disk} && exec {sys.executable} -m xdiag run"
        f" --record {disk}/record -- true"
    )
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], env=home, cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode and ("unshare" in done.stderr or "mount:" in done.stderr):
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert f"it has places for {threads} threads that make calls at a time" in done.stderr
    assert SEEN in done.stderr


# ---- what is asked for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--record", "", "--", "true"], "--record '': that is no file's name"),
        (["--record", ".", "--", "true"], "--record '.': that is no file's name"),
        (["--record", "a/..", "--", "true"], "--record 'a/..': that is no file's name"),
        (["--record", "/", "--", "true"], "--record '/': that is no file's name"),
        (["--repair", "", "--", "true"], "--repair '' names no repair: auto, none, or"),
        (["--repair", ",", "--", "true"], "--repair ',' names no repair: auto, none, or"),
        (["--", ""], "the command is empty"),
        (["--", "/tmp"], "/tmp is a directory, no command"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"xdiag: {says}") and done.stderr.count("\n") == 1


def test_a_repair_that_is_named_twice_is_made_once(run: Run) -> None:
    done = run("-v", "--repair", "unify, unify,", "--", "true")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("it was asked for") == 1
    assert done.stderr.startswith("xdiag: repair: unify (as asked for)\n")


def test_what_follows_the_command_is_the_commands(run: Run) -> None:
    for separator in ([], ["--"]):
        done = run("--quiet", *separator, "echo", "-n", "--repair", "--help", "--", "-q", "x")
        assert (done.returncode, done.stdout) == (0, "--repair --help -- -q x"), done.stderr


def test_a_carriage_return_in_an_interpreters_name_is_seen(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"#!/bin/sh\r\necho started\r\n")
    script.chmod(0o755)
    done = run("--", str(script))
    assert done.returncode == 3
    assert f"{script}: its interpreter is missing: '/bin/sh\\r'\n" in done.stderr


@pytest.mark.parametrize("record", [[], ["--record", "{}/record"]])
def test_a_removed_working_directory_is_the_commands_affair(
    home: dict[str, str], tmp_path: Path, record: list[str]
) -> None:
    record = [each.format(tmp_path) for each in record]
    words = [sys.executable, "-m", "xdiag", "run", *record, "--", "sh", "-c", "echo started"]
    gone = tmp_path / "gone"
    script = f"mkdir {gone} && cd {gone} && rmdir {gone} && exec {shlex.join(words)}"
    done = subprocess.run(
        ["sh", "-c", script], env=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
    assert SEEN in done.stderr
    relative = script.replace(" run ", " run --record record ")
    done = subprocess.run(
        ["sh", "-c", relative], env=home, capture_output=True, text=True, timeout=60, check=False
    )
    if not record:
        assert done.returncode == 3
        assert "the working directory is gone: name it from /\n" in done.stderr


def test_nothing_is_made_in_a_cache_that_is_refused(run: Run, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    done = run("--", "true", XDG_CACHE_HOME=str(shared / "cache"), XDG_RUNTIME_DIR="")
    assert done.returncode == 0
    assert f"no record: the directory for records: {shared} can be written to by" in done.stderr
    assert list(shared.iterdir()) == []


def test_the_commands_own_debug_option_is_its_own() -> None:
    for words in (["run", "-q", "--"], ["run", "-q"]):
        done = subprocess.run(
            [sys.executable, "-m", "xdiag", *words, "echo", "--debug"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "--debug\n"), done.stderr
