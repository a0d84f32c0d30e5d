"""The C++ driver, built on demand against the LibTorch inside the installed torch.

Kept in the user's cache: one for each source, torch and compiler.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.runtimes import cache
from xdiag.workload.children import run
from xdiag.workload.subject import CHILD

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdiag.workload.children import Ended
    from xdiag.workload.model import Subject

_SOURCE = CHILD / "driver.cpp"
#: Seconds; torch's headers take half a minute on a slow machine.
_PATIENCE = 900
#: The second for a torch whose headers ask for it.
_STANDARDS = ("c++17", "c++20")
_COMPILERS = ("c++", "g++", "clang++")


def built(subject: Subject, environ: Mapping[str, str]) -> str:
    """Path of the driver for this torch, built where it is not in the cache yet.

    Raises CannotRun, with the reason, where there is no compiler or it fails.
    """
    compiler = _compiler(environ)
    asked = run([*compiler, "--version"], environ, 30)
    if asked.ending != "ok":
        raise CannotRun(f"the C++ compiler {shlex.join(compiler)} does not work: {_why(asked)}")
    version = asked.output.splitlines()[0] if asked.output else ""
    told = (_SOURCE.read_text(), subject.torch, subject.folder, str(subject.cxx11_abi), version)
    key = hashlib.sha256("\0".join((*told, *compiler)).encode()).hexdigest()[:16]
    folder = cache.folder("workload", f"driver-{key}")
    driver = folder / "driver"
    if driver.is_file():
        return str(driver)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "driver"
        problem = ""
        for standard in _STANDARDS:
            command = [*compiler, f"-std={standard}", *_arguments(subject, made)]
            ended = run(command, environ, _PATIENCE)
            if ended.ending == "ok":
                # Another xdiag may have been quicker; its driver is as good.
                os.replace(made, driver)
                return str(driver)
            problem = problem or _why(ended)
        raise CannotRun(f"{shlex.join(compiler)} cannot build the driver: {problem}")


def _compiler(environ: Mapping[str, str]) -> list[str]:
    if told := shlex.split(environ.get("CXX", "")):
        return told
    path = environ.get("PATH", os.defpath)
    for name in _COMPILERS:
        if shutil.which(name, path=path):
            return [name]
    raise CannotRun(f"no C++ compiler: neither CXX is set nor {', '.join(_COMPILERS)} on PATH")


def _arguments(subject: Subject, made: Path) -> Iterator[str]:
    """What comes after the language's standard; torch's headers may warn as they like."""
    include, lib = f"{subject.folder}/include", f"{subject.folder}/lib"
    yield from ("-O2", "-Wall", "-Wextra", f"-D_GLIBCXX_USE_CXX11_ABI={int(subject.cxx11_abi)}")
    for each in (include, f"{include}/torch/csrc/api/include"):
        yield from ("-isystem", each)
    yield from (str(_SOURCE), "-o", str(made), f"-L{lib}", f"-Wl,-rpath,{lib}")
    # What torch's libraries need of others is theirs to find, by their own search paths.
    yield "-Wl,--unresolved-symbols=ignore-in-shared-libs"
    # A backend registers itself when it is loaded; nothing here names a symbol of it.
    yield "-Wl,--no-as-needed"
    for name in ("torch", f"torch_{subject.build}", f"c10_{subject.build}", "torch_cpu", "c10"):
        if os.path.exists(f"{lib}/lib{name}.so"):
            yield f"-l{name}"
    # By this name, since a compiler without the link libstdc++.so takes the archive, and torch's
    # libraries and the program would then have a C++ library each (seen on Ubuntu 24.04: a crash in
    # ~locale).
    yield from ("-l:libstdc++.so.6", "-ldl", "-pthread")


def _why(ended: Ended) -> str:
    """The compiler's first error, else its last line."""
    if ended.ending == "hang":
        return "it does not end"
    lines = ended.output.splitlines()
    return next((line for line in lines if "error" in line.lower()), ended.last_line)
