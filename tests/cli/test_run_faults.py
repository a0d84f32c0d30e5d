"""``xdiag run`` on commands that go wrong, or that nothing should be started for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

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
