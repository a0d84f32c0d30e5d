"""Build everything native: the cffi module, the software HSA agent, the kernel cache.

One table, ``PARTS``, says what is built from which sources.  The compiler is ``$CC`` (default
``cc``), extra flags come from ``$CFLAGS`` and ``$LDFLAGS``.  Used by the package's build
(``hatch_hook.py``), by ``make native`` and, with ``--sanitize``, by the tests::

    python cffi_build/build_native.py --into xdiag
    python cffi_build/build_native.py --into DIR --sanitize address,undefined --only agent
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: The oldest Python whose stable ABI the module keeps to (PEP 384).
STABLE_ABI = 0x030A0000

BASE_FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-pthread")
STRICT_FLAGS = ("-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Part:
    """One shared object: where its sources are, what file it becomes, how it is linked."""

    name: str
    folder: str
    output: str
    link: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    python_module: bool = False


PARTS = (
    Part("core", "core", "_native.abi3.so", libraries=("-ldl", "-pthread"), python_module=True),
    Part(
        "agent",
        "agent",
        "_lib/agent/libhsa-runtime64.so.1",
        link=("-Wl,--version-script={folder}/exports.map", "-Wl,-soname,libhsa-runtime64.so.1"),
        libraries=("-ldl", "-pthread"),
    ),
    Part(
        "kernel-cache",
        "comgr_cache",
        "_lib/kernel-cache/libamd_comgr.so.2",
        link=("-Wl,-soname,libamd_comgr.so.2",),
        libraries=("-ldl", "-pthread"),
    ),
)


class BuildError(Exception):
    """The compiler is missing or refused a source."""


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(
            f"no C compiler: {command[0]!r} not found; install gcc (Debian: apt-get install gcc)"
            " or set CC"
        ) from error
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")


def _generated_module(scratch: Path) -> Path:
    """Write the cffi wrapper of core/api.h and return its path."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef((HERE / "core" / "api.h").read_text())
    ffi.set_source("xdiag._native", "#include <stdint.h>\n#include <stddef.h>\n#include <api.h>\n")
    path = scratch / "_native.c"
    ffi.emit_c_code(str(path))
    return path


def build(part: Part, into: Path, sanitize: str = "") -> Path:
    """Build one part below ``into`` and return the file; raises BuildError."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    flags = [*BASE_FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    link = ["-shared", *shlex.split(os.environ.get("LDFLAGS", ""))]
    if sanitize:
        flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"]
        link += [f"-fsanitize={sanitize}"]
    folder = HERE / part.folder
    output = into / part.output
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        jobs = [(source, STRICT_FLAGS) for source in sorted(folder.glob("*.c"))]
        if part.python_module:
            jobs.append((_generated_module(scratch), (f"-DPy_LIMITED_API={STABLE_ABI:#x}",)))
            flags.append(f"-I{sysconfig.get_paths()['include']}")
        flags += [f"-I{HERE}", f"-I{folder}"]
        objects = []
        for source, warnings in jobs:
            compiled = scratch / f"{source.stem}.o"
            _run([*compiler, *flags, *warnings, "-c", str(source), "-o", str(compiled)])
            objects.append(str(compiled))
        # Linked beside its place and moved there: a running xdiag keeps the file it has mapped.
        fresh = output.with_name(output.name + ".new")
        options = [option.format(folder=folder) for option in part.link]
        _run([*compiler, *link, *options, *objects, *part.libraries, "-o", str(fresh)])
        fresh.replace(output)
    return output


def build_all(into: Path, sanitize: str = "", only: str = "") -> list[Path]:
    """Build every part, or the one named ``only``."""
    return [build(part, into, sanitize) for part in PARTS if only in ("", part.name)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--into", type=Path, default=HERE.parent / "xdiag")
    parser.add_argument("--sanitize", default="", help="for example address,undefined or thread")
    parser.add_argument("--only", default="", choices=["", *(part.name for part in PARTS)])
    options = parser.parse_args()
    try:
        for path in build_all(options.into, options.sanitize, options.only):
            print(f"built {path}")
    except BuildError as error:
        print(f"build_native: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
