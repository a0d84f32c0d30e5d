"""Small libraries with the names of a runtime's, and processes that load them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runtimes.conftest import compile_library

if TYPE_CHECKING:
    from xdiag.loaded import LoadedRuntime

ROOT = Path(__file__).resolve().parents[2]

SOURCE = "int calls; int hipInit(unsigned flags) { return calls += (int)flags; }"

#: What every child begins with.
PRELUDE = """
import ctypes, os, pickle, sys
import xdiag
from xdiag import loaded
paths = [os.fsencode(each) for each in sys.argv[1:]]
libc = ctypes.CDLL(None, use_errno=True)
libc.dlmopen.restype = ctypes.c_void_p
def load(path):
    return ctypes.CDLL(os.fsdecode(path))
def in_namespace(path):
    handle = libc.dlmopen(ctypes.c_long(-1), ctypes.c_char_p(path), 2)
    assert handle, path
    return handle
def answer(what):
    sys.stdout.buffer.write(pickle.dumps(what))
    sys.stdout.buffer.flush()
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that could be a HIP runtime, by its name."""
    return compile_library(tmp_path_factory.mktemp("one") / "libamdhip64.so.6.4.60403", SOURCE)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def in_child(
    code: str, *paths: str | bytes | Path, wrapper: tuple[str, ...] = (), **changes: str
) -> object:
    """Run code after the prelude in a process of its own; what it gave to ``answer``."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", PRELUDE + code, *paths],
        env=environment(**changes),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return pickle.loads(done.stdout)


def loaded_in_child(
    code: str, *paths: str | bytes | Path, wrapper: tuple[str, ...] = (), **changes: str
) -> tuple[LoadedRuntime, ...]:
    """What is loaded in a process that has run the code."""
    told = in_child(code + "\nanswer(loaded.loaded_runtimes())", *paths, wrapper=wrapper, **changes)
    assert isinstance(told, tuple)
    return told


@pytest.fixture(scope="session")
def own_mounts() -> tuple[str, ...]:
    """What runs a command with mounts of its own; skips where that is not allowed."""
    wrapper = ("unshare", "--mount", "--propagation", "private")
    try:
        done = subprocess.run([*wrapper, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare(1) here")
    if done.returncode:
        pytest.skip(f"no mount namespace of one's own here: {done.stderr.strip()}")
    return wrapper
