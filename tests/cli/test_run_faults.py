"""``xdiag run`` on commands that go wrong, or that nothing should be started for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process.conftest import needs_root

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
