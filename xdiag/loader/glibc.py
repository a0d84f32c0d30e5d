"""Facts about the dynamic loader of a root, read from its file: version, directories, $LIB.

They are compiled into ld.so and differ between distributions: Debian has /lib/x86_64-linux-gnu,
Fedora /lib64, Arch /usr/lib, Nix a path of its own.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from xdiag.loader import cache
from xdiag.loader.records import Missing, NotLoaded
from xdiag.model import Record

if TYPE_CHECKING:
    from xdiag.discover.root import Root

#: Bytes read of ld.so (0.2 MB, with symbols 2 MB) and of libc.so.6 (2 MB).
_MOST = 8 << 20
_LONGEST_DIRECTORY = 4096
_MOST_CANDIDATES = 4096

_NOT_PRINTABLE = re.compile(rb"[^!-~]")
# ld.so says its version since 2.33; before that the file's name does, and libc.so.6 always did.
_VERSION = re.compile(
    rb"ld\.so \([^()\0]{0,200}\) [a-z]{1,20} release version (\d{1,3})\.(\d{1,3})"
)
_LIBC_VERSION = re.compile(
    rb"GNU C Library \([^()\0]{0,200}\) [a-z]{1,20} release version (\d{1,3})\.(\d{1,3})"
)
_FILE_NAME = re.compile(r"ld-(\d{1,3})\.(\d{1,3})(?:\.\d+)?\.so")

#: Where the version cannot be told: Debian 12's and RHEL 9's, between the two sets of rules.
_ASSUMED = (2, 36)
#: What upstream has for 64-bit machines, where none can be found.
_USUAL_DIRS = ("/lib64/", "/usr/lib64/")


class NotGlibc(NotLoaded):
    """A dynamic loader whose rules are not those simulated here: musl's, for example."""


class Glibc(Record, frozen=True):
    """The dynamic loader of a root."""

    #: PT_INTERP of the program, and the file that this is, links followed.
    path: str
    real_path: str
    version: tuple[int, int]
    #: Directories searched last, each with a slash at its end.
    system_dirs: tuple[str, ...]
    #: What $LIB stands for: "lib64", Debian: "lib/x86_64-linux-gnu".
    lib: str
    cache: str = cache.PATH
    preload: str = "/etc/ld.so.preload"
    #: False where nothing says which version it is, and ``version`` is an assumption.
    version_known: bool = True


def of_program(program: str, interpreter: str, root: Root) -> Glibc:
    """Facts about the loader that a program asks for.

    Raises NotLoaded where there is none that can be read, and NotGlibc.  Its file is searched for
    the strings that elf/trusted-dirs.h and elf/dl-usage.c put there.
    """
    try:
        data = root.read(interpreter, _MOST)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise NotLoaded(
            Missing(interpreter, program, "interpreter", f"the dynamic loader: {reason}")
        ) from error
    if b"GLIBC_PRIVATE" not in data:
        reason = "not glibc's dynamic loader; only that one is simulated"
        raise NotGlibc(Missing(interpreter, program, "interpreter", reason))
    real_path = root.real_path(interpreter)
    version = _version(data, real_path, root)
    dirs = _system_dirs(data)
    return Glibc(
        path=interpreter,
        real_path=real_path,
        version=version or _ASSUMED,
        system_dirs=dirs,
        lib=_lib(data, dirs[0]),
        cache=_path(data, "/ld.so.cache") or cache.PATH,
        preload=_path(data, "/ld.so.preload") or "/etc/ld.so.preload",
        version_known=version is not None,
    )


def _version(data: bytes, real_path: str, root: Root) -> tuple[int, int] | None:
    found = _VERSION.search(data)
    if found is None:
        by_name = _FILE_NAME.fullmatch(os.path.basename(real_path))
        if by_name is not None:
            return int(by_name[1]), int(by_name[2])
        try:
            libc = root.read(f"{os.path.dirname(real_path)}/libc.so.6", _MOST)
        except OSError:
            return None
        found = _LIBC_VERSION.search(libc)
    return (int(found[1]), int(found[2])) if found is not None else None


def _system_dirs(data: bytes) -> tuple[str, ...]:
    """SYSTEM_DIRS (elf/gen-trusted-dirs.awk): a null character after each, no more between them."""
    dirs: list[str] = []
    after = -1
    end = data.find(b"/\0")
    for _ in range(_MOST_CANDIDATES):
        if end < 0:
            break
        start = data.rfind(b"\0", max(0, end - _LONGEST_DIRECTORY), end) + 1
        if dirs and start != after:
            break
        after = end + 2
        # Whatever lies before the first of them need not end in a null character.
        text = _NOT_PRINTABLE.split(data[max(start, end - _LONGEST_DIRECTORY) : end + 1])[-1]
        path = os.fsdecode(text[text.find(b"/") :])
        if "/lib" in path:
            dirs.append(path)
        elif dirs:
            break
        end = data.find(b"/\0", after)
    return tuple(dirs) or _USUAL_DIRS


def _lib(data: bytes, first: str) -> str:
    """DL_DST_LIB, which is made of the first system directory.

    All of it in Debian's glibc, its last part in all others (elf/Makefile).
    """
    whole = first.strip("/").removeprefix("usr/")
    if os.fsencode(whole) + b"\0" in data:
        return whole
    return os.path.basename(first.rstrip("/"))


def _path(data: bytes, end: str) -> str:
    """The first absolute path in the file's strings that ends so; empty if there is none."""
    place = data.find(f"{end}\0".encode())
    if place < 0:
        return ""
    before = data[max(0, place - _LONGEST_DIRECTORY) : place]
    text = _NOT_PRINTABLE.split(before)[-1]
    return os.fsdecode(text[text.find(b"/") :]) + end if b"/" in text else ""
