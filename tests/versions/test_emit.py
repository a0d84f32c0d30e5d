"""Emitted programs over a runtime that needs a newer C library: their heads say how to run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import cells_for
from versions.test_matrix import target_of

from xdiag import emit
from xdiag.errors import Usage

if TYPE_CHECKING:
    from xdiag.model import Loader, Target

pytestmark = pytest.mark.versions

#: What stands in for the paths of a reader's machine.
_EXAMPLES = ("FIRST", "COPY", "LINK", "SONAME", "NAME", "LOADER", "LIBRARIES")


@pytest.fixture(scope="module")
def newer() -> Target:
    """HIP 7.2, where this machine's C library is too old for it."""
    target = target_of("7.2")
    if target.loader is None:
        pytest.skip("this machine's C library is new enough for HIP 7.2")
    return target


def _loader(target: Target) -> Loader:
    assert target.loader is not None
    return target.loader


def _commands(text: str) -> list[str]:
    """The commands in a program's head, but for the examples' own paths."""
    head = text[: text.index("Written by xdiag")]
    lines = re.findall(r"^(?: \*)? {4,5}(\S.*)$", head, re.MULTILINE)
    return [line for line in lines if line.partition("=")[0] not in _EXAMPLES]


def _environ(target: Target, folder: Path) -> dict[str, str]:
    copy = folder / "copy" / Path(target.runtime).name
    copy.parent.mkdir()
    shutil.copy(target.runtime, copy)
    loader = _loader(target)
    return {
        **os.environ, **target.environment, "FIRST": target.runtime, "COPY": str(copy),
        "NAME": "libamdhip64.so", "LOADER": loader.path,
        "LIBRARIES": ":".join([*target.library_path, *loader.library_path]),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip


@pytest.mark.parametrize("language", ["c", "python"])
def test_the_command_in_the_head_runs_it(newer: Target, tmp_path: Path, language: str) -> None:
    (cell,) = cells_for("same-thread/none/driver")
    name = "repro.c" if language == "c" else "repro.py"
    text = emit.write(cell, language, name=name, target=newer)
    (tmp_path / name).write_text(text)
    script = "\n".join(_commands(text))
    assert "$LOADER --library-path $LIBRARIES" in script
    done = subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, env=_environ(newer, tmp_path),
                          capture_output=True, text=True, timeout=100)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"hipStreamCreateWithFlags\(.*\) -> 0", done.stdout)


def test_the_machines_own_loader_cannot(newer: Target, tmp_path: Path) -> None:
    """What the head spares its reader."""
    (cell,) = cells_for("same-thread/none/driver")
    (tmp_path / "repro.c").write_text(emit.write(cell, "c"))
    command = ["cc", "repro.c", "-o", "repro", "-ldl", "-lpthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "repro", newer.runtime], capture_output=True, text=True)
    assert done.returncode == 3
    assert "GLIBC" in done.stdout or "cannot open shared object" in done.stdout


@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_every_program_is_short_with_a_loader_too(newer: Target, language: str) -> None:
    written = 0
    for cell in cells_for():
        try:
            text = emit.write(cell, language, target=newer)
        except Usage:
            continue
        written += 1
        lines = text.splitlines()
        assert len(lines) < 120 and max(map(len, lines)) <= 100, cell.id
        assert "$LOADER --library-path " in text and "LD_LIBRARY_PATH=" not in text, cell.id
        assert _loader(newer).path not in text
    assert written > 150


def test_the_paths_of_this_machine_are_told_beside_it(newer: Target, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "probe", "-p", "same-thread", "--emit", "c", "-o", "x.c",
         "--runtime", "7.2", "--agent", "software"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert f"export LOADER={_loader(newer).path}" in done.stderr.replace("'", "")
    assert "needs glibc" in done.stderr
