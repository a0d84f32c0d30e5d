"""``xdiag probe --emit`` as users call it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import build_fake

from xdiag import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]


def test_a_program_is_written_where_no_runtime_is_and_nothing_is_run(
    xdiag: Xdiag, tmp_path: Path
) -> None:
    path = tmp_path / "repro.c"
    done = xdiag(
        "probe", "-p", "second-runtime", "-c", "replay", "--emit", "c", "-o", str(path), fake=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = path.read_text()
    assert "cc repro.c -o repro -ldl -lpthread" in text
    assert f"Written by xdiag {__version__}: probe -p second-runtime -c replay --emit c" in text
    # Where it lies is nobody's business.
    assert str(tmp_path) not in text


def test_built_and_run_without_xdiag_it_shows_the_fault(xdiag: Xdiag, tmp_path: Path) -> None:
    library = build_fake(tmp_path)
    path, copy = tmp_path / "repro.c", tmp_path / "copy"
    shutil.copy(library, copy)
    xdiag("probe", "-p", "second-runtime", "-c", "replay", "--emit", "c", "-o", str(path))
    subprocess.run(["cc", path, "-o", tmp_path / "repro", "-ldl", "-lpthread"], check=True)
    done = subprocess.run(
        [tmp_path / "repro", library, copy], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert last.split("(")[0].strip() == "10  worker: hipStreamGetFlags" and "-> 709" in last


def test_python_goes_to_standard_output_and_from_there_to_python(
    xdiag: Xdiag, tmp_path: Path
) -> None:
    written = xdiag("probe", "-p", "destroyed-stream", "--emit", "python", fake=False)
    assert written.returncode == 0
    done = subprocess.run(
        [sys.executable, "-", build_fake(tmp_path)],
        input=written.stdout, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"},
    )  # fmt: skip
    assert done.returncode == 1 and "hipStreamGetFlags" in done.stdout
    assert "-> 709" in done.stdout and done.stderr == ""


def test_native_actors_are_kept_and_named(xdiag: Xdiag) -> None:
    done = xdiag("probe", "-p", "cross-thread", "--actor", "native", "--emit", "c", fake=False)
    assert "probe --actor native -p cross-thread -c driver --emit c" in done.stdout
    refused = xdiag(
        "probe", "-p", "cross-thread", "--actor", "native", "--emit", "python", fake=False
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "native threads" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-p", "same-thread", "-f", "native-thread", "--emit", "c"],
            "no Python thread takes part",
        ),
        (["-p", "cross-thread", "-c", "replay", "--emit", "python"], "needs native threads"),
        (["-p", "fork-after-init", "--emit", "hip-tests"], "this story forks"),
        (["-p", "cross-thread", "--emit", "c", "--json"], "--json"),
        (["-p", "cross-thread", "--emit", "fortran"], "fortran"),
        (["-p", "cros-thread", "--emit", "c"], "did you mean cross-thread"),
    ],
    ids=str,
)
def test_what_cannot_be_written_is_one_line_and_2(
    xdiag: Xdiag, tmp_path: Path, arguments: list[str], message: str
) -> None:
    path = tmp_path / "out"
    done = xdiag("probe", *arguments, "-o", str(path), fake=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not path.exists()
