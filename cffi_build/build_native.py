"""Build everything native: the cffi module, the HSA agent, the kernel cache, the audit library.

One table, ``PARTS``, says what is built from which sources.  The compiler is ``$CC`` (default
``cc``), extra flags come from ``$CFLAGS`` and ``$LDFLAGS``.  Used by the package's build
(``hatch_hook.py``), by ``make native`` and, with ``--sanitize``, by the tests::

    python cffi_build/build_native.py --stale
    python cffi_build/build_native.py --into DIR --sanitize address,undefined --only agent
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: The oldest Python whose stable ABI the module keeps to (PEP 384).
STABLE_ABI = 0x030A0000

BASE_FLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-pthread")
STRICT_FLAGS = ("-Wall", "-Wextra", "-Werror")
LINK_FLAGS = ("-shared", "-Wl,--build-id=sha1")


@dataclass(frozen=True)
class Part:
    """One shared object: where its sources are, what file it becomes, how it is linked."""

    name: str
    folder: str
    output: str
    flags: tuple[str, ...] = ()
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
    *(
        # One library under the names that HIP 5 to 6.3, and 6.4 and later, ask for.
        Part(
            name,
            "comgr_cache",
            f"_lib/kernel-cache/{soname}",
            link=("-Wl,--version-script={folder}/exports.map", f"-Wl,-soname,{soname}"),
            libraries=("-ldl", "-pthread"),
        )
        for name, soname in (
            ("kernel-cache", "libamd_comgr.so.2"),
            ("kernel-cache-3", "libamd_comgr.so.3"),
        )
    ),
    Part(
        "audit",
        "audit",
        "_lib/audit/libxdiag-audit.so",
        # Loaded at the program's start, it may have its thread-local variables beside the
        # program's own, where reaching them is one instruction.
        flags=("-ftls-model=initial-exec",),
        link=("-Wl,-soname,libxdiag-audit.so", "-Wl,-z,now"),
    ),
)


class BuildError(Exception):
    """The compiler is missing or refused a source."""


def _missing_header(compiler_says: str) -> str:
    """What to install where gcc or clang did not find a system header, empty if it found all."""
    missing = re.search(r"fatal error: '?([\w./]+\.h)'?(?:: No such| file not)", compiler_says)
    if not missing:
        return ""
    package = "python3-dev" if missing[1] == "Python.h" else "libc6-dev"
    return f"C header {missing[1]} not found; install it (Debian: apt-get install {package})"


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(
            f"no C compiler: {command[0]!r} not found; install gcc (Debian: apt-get install gcc)"
            " or set CC"
        ) from error
    if done.returncode != 0:
        missing = _missing_header(done.stderr)
        raise BuildError(missing or f"{shlex.join(command)}\n{done.stderr}")


def _generated_module(scratch: Path) -> Path:
    """Write the cffi wrapper of core/api.h and return its path."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef((HERE / "core" / "api.h").read_text())
    ffi.set_source("xdiag._native", "#include <stdint.h>\n#include <stddef.h>\n#include <api.h>\n")
    path = scratch / "_native.c"
    with contextlib.redirect_stdout(io.StringIO()):  # it says "generating ..."
        ffi.emit_c_code(str(path))
    return path


def is_stale(part: Part, into: Path) -> bool:
    """True where the built file is missing or older than something it is built from."""
    output = into / part.output
    if not output.exists():
        return True
    sources = [Path(__file__), *HERE.glob("*.h"), *(HERE / part.folder).iterdir()]
    return max(path.stat().st_mtime for path in sources) > output.stat().st_mtime


def build(part: Part, into: Path, sanitize: str = "") -> Path:
    """Build one part below ``into`` and return the file; raises BuildError."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    flags = [*BASE_FLAGS, *shlex.split(os.environ.get("CFLAGS", ""))]
    link = [*LINK_FLAGS, *shlex.split(os.environ.get("LDFLAGS", ""))]
    if sanitize:
        flags += [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer"]
        link += [f"-fsanitize={sanitize}"]
    folder = HERE / part.folder
    output = into / part.output
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        jobs: list[tuple[Path, tuple[str, ...]]]
        jobs = [(source, STRICT_FLAGS) for source in sorted(folder.glob("*.c"))]
        if not jobs:
            raise BuildError(f"no C sources in {folder}")
        if part.python_module:
            jobs.append((_generated_module(scratch), (f"-DPy_LIMITED_API={STABLE_ABI:#x}",)))
            flags.append(f"-I{sysconfig.get_paths()['include']}")
        flags += [*part.flags, f"-I{HERE}", f"-I{folder}"]

        def compile_one(job: tuple[Path, tuple[str, ...]]) -> str:
            source, warnings = job
            compiled = scratch / f"{source.stem}.o"
            _run([*compiler, *flags, *warnings, "-c", str(source), "-o", str(compiled)])
            return str(compiled)

        with ThreadPoolExecutor(os.cpu_count()) as workers:
            objects = list(workers.map(compile_one, jobs))
        # Linked beside its place and moved there: a running xdiag keeps the file it has mapped.
        fresh = output.with_name(output.name + ".new")
        options = [option.format(folder=folder) for option in part.link]
        _run([*compiler, *link, *options, *objects, *part.libraries, "-o", str(fresh)])
        fresh.replace(output)
    return output


def build_all(into: Path, sanitize: str = "", only: str = "", stale: bool = False) -> list[Path]:
    """Build every part, or the one named ``only``, or those of them that are stale."""
    return [
        build(part, into, sanitize)
        for part in PARTS
        if only in ("", part.name) and (not stale or is_stale(part, into))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--into", type=Path, default=HERE.parent / "xdiag")
    parser.add_argument("--sanitize", default="", help="for example address,undefined or thread")
    parser.add_argument("--only", default="", choices=["", *(part.name for part in PARTS)])
    parser.add_argument("--stale", action="store_true", help="only what is older than its sources")
    options = parser.parse_args()
    try:
        for path in build_all(options.into, options.sanitize, options.only, options.stale):
            print(f"built {path}")
    except BuildError as error:
        print(f"build_native: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
