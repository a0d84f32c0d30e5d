"""Is this file a runtime?  Its facts if it is, one clear line if not."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from xdiag.discover import libraries
from xdiag.discover.elf import BadElf
from xdiag.discover.root import Root
from xdiag.errors import CannotRun, Usage, near_matches

if TYPE_CHECKING:
    from xdiag.discover.elf import Elf

#: Kinds of ``BadElf`` that say "you named the wrong file", not "this file cannot be used here".
_NO_LIBRARY = ("empty", "not-elf", "not-loadable", "other-library")


def read_runtime(path: str | os.PathLike[str], proof: str = "hipInit") -> Elf:
    """Read a runtime's file; ``proof`` is the export that makes it one.

    Raises Usage if the path names no library that could be a runtime, CannotRun if it names one
    that cannot be used here: unreadable, damaged, or for another machine.
    """
    name = os.fspath(path)
    _check_path(name)
    try:
        return libraries.read(name, Root(), proof)
    except BadElf as error:
        if error.kind in _NO_LIBRARY:
            raise Usage(str(error)) from error
        raise


def sha256(path: str | os.PathLike[str]) -> str:
    """The digest of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_path(name: str) -> None:
    """Raises Usage if there is no such file, CannotRun if it cannot even be asked for."""
    try:
        name.encode()
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Usage(f"{name}: no such file{_neighbours(name)}") from error
    except ValueError as error:  # a null character; or bytes that no report could show
        raise Usage(f"{name!r}: not a path of printable text") from error
    except OSError as error:
        raise CannotRun(f"{name}: cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        kind = "a directory, not a library" if stat.S_ISDIR(mode) else "not a regular file"
        raise Usage(f"{name}: {kind}{_inside(name)}")


def _neighbours(name: str) -> str:
    """Names like this one in the same directory."""
    folder, base = os.path.split(name)
    try:
        known = os.listdir(folder or ".")
    except OSError:
        return ""
    return near_matches(base, known)


def _inside(name: str) -> str:
    """Runtimes in this directory, where it was meant to name one."""
    try:
        found = sorted(entry for entry in os.listdir(name) if entry.startswith("libamdhip64.so"))
    except OSError:
        return ""
    return f"; did you mean {os.path.join(name, found[0])}?" if found else ""
