"""AMD's runtime in a process: which copies there are, once it has been opened in each way."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from loaded.conftest import environment

from xdiag.engine.messages import Paths
from xdiag.model import Target

CODE = """
import ctypes, os, sys
import xdiag
libraries = [ctypes.CDLL(path, mode=os.RTLD_LOCAL | os.RTLD_NOW) for path in sys.argv[1:]]
for library in libraries:
    library.hipInit(0)
for copy in xdiag.loaded_runtimes():
    print(copy.family, copy.device, copy.inode, copy.order)
xdiag.assert_single_runtime()
"""


def _loaded(target: Target, *paths: str) -> tuple[list[str], str]:
    """The copies that a process has that has opened these, and its last line of complaint."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *paths],
        env=environment(**target.environment, LD_LIBRARY_PATH=":".join(target.library_path)),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout.splitlines(), done.stderr


def _line(path: str, order: int) -> str:
    status = os.stat(path)
    return f"libamdhip64 {status.st_dev} {status.st_ino} {order}"


def test_one_runtime_and_a_link_to_it(real_target: Target, real_paths: Paths) -> None:
    copies, complaint = _loaded(real_target, real_paths.first, real_paths.link)
    assert complaint == ""
    assert [line for line in copies if "amdhip64" in line] == [_line(real_paths.first, 0)]
    assert sum("libhsa-runtime64" in line for line in copies) == 1


@pytest.mark.parametrize("turned", [False, True])
def test_a_second_copy(real_target: Target, real_paths: Paths, turned: bool) -> None:
    paths = [real_paths.first, real_paths.copy]
    if turned:
        paths.reverse()
    copies, complaint = _loaded(real_target, *paths)
    assert copies[:2] == [_line(path, order) for order, path in enumerate(paths)]
    assert "xdiag.loaded.TwoRuntimesError: 2 copies of libamdhip64 are loaded" in complaint
    assert "error 709" in complaint
