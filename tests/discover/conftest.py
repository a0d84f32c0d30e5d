"""What the tests of facts share: a library, images of machines, limits for hostile input."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runtimes.conftest import compile_library

from xdiag.discover.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

#: What hostile input may cost: seconds and bytes.
SECONDS, BYTES = 2.0, 200 << 20

HERE = Root()
HIP = "int hipInit(unsigned flags) { return (int)flags; }"


@pytest.fixture(scope="session")
def hip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that passes for a HIP runtime, compiled once; tests copy and patch it."""
    folder = tmp_path_factory.mktemp("hip")
    return compile_library(folder / "libamdhip64.so.6", HIP, "-Wl,-rpath,$ORIGIN")


@pytest.fixture(scope="session")
def user_of_hip(hip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that needs the HIP runtime."""
    source = "int hipInit(unsigned); int use(void) { return hipInit(0); }"
    return compile_library(tmp_path_factory.mktemp("user") / "_C.so", source, str(hip))


@pytest.fixture(scope="session")
def opener_of_hip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that opens the HIP runtime by two names, and has them in a message too."""
    source = """
    #include <dlfcn.h>
    #include <stdio.h>
    void *use(void)
    {
        void *found = dlopen("libamdhip64.so", RTLD_NOW);
        if (!found)
            found = dlopen("/opt/rocm/lib/libamdhip64.so.6", RTLD_NOW);
        if (!found)
            puts("cannot open libamdhip64.so: is ROCm installed?");
        return found;
    }
    """
    return compile_library(tmp_path_factory.mktemp("opener") / "_opener.so", source)


def put(path: Path, content: str | bytes = "") -> Path:
    """Write a file, with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def copied(library: Path, to: Path, *, build: int | None = None) -> Path:
    """A copy of a library; with ``build`` as if it had been built another time."""
    data = library.read_bytes()
    if build is not None:
        start = data.index(b"GNU\0", data.index(b"\x03\0\0\0GNU\0")) + 4
        data = data[:start] + build.to_bytes(20, "big") + data[start + 20 :]
    return put(to, data)


def bounded(work: Callable[[], Any]) -> Any:
    """Do it in a forked child with a limit on memory; fails if it takes too long or too much."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
            # What the tests before have left is not for this one's collector to go through.
            gc.freeze()
            # Of the processor: other work on the machine does not count.
            begun = time.process_time()
            text = repr(work())
            took = time.process_time() - begun
            text = text if took < SECONDS else f"took {took:.1f} s"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode()[:4096])
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        told = pipe.read().decode()
    os.waitpid(pid, 0)
    assert told and "MemoryError" not in told and not told.startswith("took "), told
    return told


def ask(python: Path | str, expression: str, **options: Any) -> Any:
    """What a real interpreter says of itself."""
    import json
    import subprocess

    program = f"import sys, json, site; print(json.dumps({expression}))"
    done = subprocess.run(
        [str(python), "-c", program], capture_output=True, text=True, check=True, **options
    )
    return json.loads(done.stdout)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
on_debian = pytest.mark.skipif(
    not os.access("/usr/bin/python3", os.X_OK) or sys.platform != "linux",
    reason="no system Python here",
)
