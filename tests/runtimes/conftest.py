"""Tiny libraries compiled on the spot, and the real package fetched once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xdiag.errors import CannotRun
from xdiag.runtimes import agent, choose, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A HIP runtime that asks an HSA runtime of ours how many devices there are.
FAKE_HIP = """
#include <stdlib.h>
#include <string.h>
int hsa_devices(void);
int hipInit(unsigned flags) { AT_INIT; return (int)flags; }
int hipRuntimeGetVersion(int *version) { *version = 60342133; return 0; }
int hipGetDeviceCount(int *count) { *count = hsa_devices(); return *count ? 0 : 100; }
int hipGetDeviceProperties(void *properties, int device)
{
    strcpy(properties, "a fake");
    return device;
}
"""
HSA_AGENT = """
#include <stdlib.h>
int hsa_devices(void) { char *text = getenv("XDIAG_AGENT_DEVICES"); return text ? atoi(text) : 9; }
"""
HSA_EMPTY = "int hsa_devices(void) { return 0; }"
HSA_GPU = "int hsa_devices(void) { return 8; }"


def compile_library(path: Path, source: str, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["cc", "-shared", "-fPIC", "-Wl,--build-id", "-x", "c", "-", "-o", str(path)]
    if not any("-soname" in option for option in options):
        command.append(f"-Wl,-soname,{path.name}")
    subprocess.run([*command, "-x", "none", *options], input=source, text=True, check=True)
    return path


def fake_runtime(
    folder: Path, hsa: str = HSA_EMPTY, *options: str, at_init: str = "",
    name: str = "libamdhip64.so.6",
) -> Path:  # fmt: skip
    """A fake HIP runtime in ``folder``, with an HSA runtime beside it."""
    below = compile_library(folder / "libhsa-runtime64.so.1", hsa)
    source = FAKE_HIP.replace("AT_INIT", at_init)
    return compile_library(folder / name, source, str(below), *options)


def show_python(monkeypatch: pytest.MonkeyPatch, *search_path: Path) -> None:
    """Let the search see an interpreter with this search path."""
    from msgspec.structs import replace

    from xdiag.discover import python_environment
    from xdiag.runtimes import find

    entries = tuple(map(str, search_path))
    own = replace(python_environment.own(), search_path=entries, site_dirs=entries, editable={})
    monkeypatch.setattr(find, "_python", lambda: own)


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no runtime can be found; returns its cache directory."""
    from xdiag.discover import libraries, rocm
    from xdiag.runtimes import find

    for name in ("ROCM_PATH", "HIP_PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(rocm, "_USUAL", str(tmp_path / "opt" / "rocm"))
    monkeypatch.setattr(libraries, "usual_folders", tuple)
    monkeypatch.setattr(find, "_loader_cache", lambda: str(tmp_path / "no-cache"))
    show_python(monkeypatch)
    return tmp_path / "cache" / "xdiag"


@pytest.fixture
def fake_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the software agent, in a directory of native parts."""
    parts = tmp_path / "parts"
    library = compile_library(parts / "agent" / agent.AGENT, HSA_AGENT)
    monkeypatch.setattr(agent, "NATIVE_PARTS", parts)
    return library


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the kernel driver."""
    monkeypatch.setattr(choose, "KERNEL_DRIVER", tmp_path / "kfd")


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> fetch.Added:
    """The real package, fetched into a cache of this session's."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get here")
    earlier = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    try:
        added = fetch.add(lambda text: None)
    except CannotRun as error:
        pytest.skip(f"the real package cannot be fetched: {error}")
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if earlier is not None:
            os.environ["XDG_CACHE_HOME"] = earlier
    if added.source != "cache":
        pytest.skip("the package is installed system-wide: there is nothing to fetch")
    return added


@pytest.fixture
def fetched_cache(fetched: fetch.Added, empty_machine: Path) -> fetch.Added:
    """The real package as the only runtime of this machine."""
    os.environ["XDG_CACHE_HOME"] = str(Path(fetched.path).parents[2])  # undone by monkeypatch
    return fetched


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user can get to and write to, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="xdiag-test-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def in_fork(work: Callable[[], Any], *, user: int | None = None) -> tuple[int, str]:
    """Do something in a forked child, as another user if told; (status, what it returned)."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if user is not None:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            try:
                text, status = str(work()), 0
            except CannotRun as error:
                text, status = str(error), error.exit_code
            os.write(write, text.encode())
            os._exit(status)
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(99)
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text
