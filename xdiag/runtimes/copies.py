"""Second files of the runtime under test, for experiments with two loaded copies of it."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.engine.messages import Paths
from xdiag.errors import CannotRun, XdiagError
from xdiag.runtimes import cache
from xdiag.runtimes.runtime_file import read_runtime, sha256

if TYPE_CHECKING:
    from xdiag.discover.elf import Elf
    from xdiag.model import Target


def copies(target: Target) -> Paths:
    """The target's runtime, a copy of its file, and links to both under the names it goes by.

    They are kept in the user's cache, or, where that cannot be, in a directory that is gone when
    this process ends.  Raises CannotRun if there is room in neither.
    """
    proof = platforms.get(target.platform).proof
    library = read_runtime(target.runtime, proof)
    try:
        folder = cache.folder("copies", library.build_id or sha256(target.runtime))
        return _prepared(library, folder, proof)
    except (CannotRun, OSError):
        pass  # no cache, or a full one: the other disk may do
    try:
        return _prepared(library, _temporary(), proof)
    except OSError as error:
        raise CannotRun(
            f"cannot copy {target.runtime}: {error.strerror}; make room in the temporary directory"
        ) from error


def _prepared(library: Elf, folder: Path, proof: str) -> Paths:
    # A name out of a file is not to be trusted with a path.
    soname = library.soname
    if "/" in soname or soname.startswith("."):
        soname = ""
    copy = _copy(library, folder / (soname or os.path.basename(library.path)), proof)
    # Links to it by its path: two xdiags at work on equal files do not take them from each other.
    mark = hashlib.sha256(os.fsencode(library.path)).hexdigest()[:8]
    link = folder / f"link-{mark}-{copy.name}"
    _link(link, library.path)
    first_directory = folder / f"first-{mark}"
    first_directory.mkdir(mode=0o700, exist_ok=True)
    name = _unversioned(soname)
    if soname:
        _link(first_directory / soname, library.path)
    if name != soname:
        _link(first_directory / name, library.path)
        _link(folder / name, copy.name)
    return Paths(
        first=library.path,
        copy=str(copy),
        link=str(link),
        soname=soname,
        name=name,
        first_directory=str(first_directory),
        copy_directory=str(folder),
    )


def _unversioned(soname: str) -> str:
    """The name that a linker is given: libamdhip64.so for libamdhip64.so.6."""
    stem, so, _ = soname.partition(".so")
    return stem + so


def _copy(library: Elf, copy: Path, proof: str) -> Path:
    """A file with the same content and another inode; an earlier one is used again."""
    if not _is_copy(copy, library, proof):
        aside = _aside(copy)
        try:
            shutil.copyfile(library.path, aside)
            aside.replace(copy)
        finally:
            aside.unlink(missing_ok=True)
    return copy


def _is_copy(path: Path, library: Elf, proof: str) -> bool:
    try:
        status = path.lstat()
        same_file = (status.st_dev, status.st_ino) == (library.device, library.inode)
        if same_file or status.st_size != library.size:
            return False
        return read_runtime(path, proof).build_id == library.build_id
    except (OSError, XdiagError):
        return False


def _link(link: Path, to: str) -> None:
    if link.is_symlink() and os.readlink(link) == to:
        return
    aside = _aside(link)
    aside.symlink_to(to)
    aside.replace(link)


def _aside(path: Path) -> Path:
    """A name beside a file that nobody else uses, to make it under before it is renamed."""
    return path.with_name(f".{path.name}-{os.getpid()}-{uuid.uuid4().hex}")


def _temporary() -> Path:
    """A directory that is removed when this process ends, not when a fork of it does."""
    folder = Path(tempfile.mkdtemp(prefix="xdiag-"))
    maker = os.getpid()

    def remove() -> None:
        if os.getpid() == maker:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
