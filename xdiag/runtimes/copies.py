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

from xdiag.engine.messages import Paths
from xdiag.errors import CannotRun, XdiagError
from xdiag.runtimes import cache
from xdiag.runtimes.runtime_file import read_runtime, sha256

if TYPE_CHECKING:
    from xdiag.discover.elf import Elf
    from xdiag.model import Target


def copies(target: Target) -> Paths:
    """The target's runtime, a copy of its file, and a link to it under another name.

    They are kept in the user's cache, or, where that cannot be, in a directory that is gone when
    this process ends.  Raises CannotRun if there is room in neither.
    """
    library = read_runtime(target.runtime)
    try:
        folder = cache.folder("copies", library.build_id or sha256(target.runtime))
        return _prepared(library, folder)
    except (CannotRun, OSError):
        pass  # no cache, or a full one: the other disk may do
    try:
        return _prepared(library, _temporary())
    except OSError as error:
        raise CannotRun(
            f"cannot copy {target.runtime}: {error.strerror}; make room in the temporary directory"
        ) from error


def _prepared(library: Elf, folder: Path) -> Paths:
    # A name out of a file is not to be trusted with a path.
    name = library.soname
    if not name or "/" in name or name.startswith("."):
        name = os.path.basename(library.path)
    # One link per path: two xdiags at work on equal files do not take it from each other.
    link = folder / f"link-{hashlib.sha256(os.fsencode(library.path)).hexdigest()[:8]}-{name}"
    _link(link, library.path)
    return Paths(first=library.path, copy=str(_copy(library, folder / name)), link=str(link))


def _copy(library: Elf, copy: Path) -> Path:
    """A file with the same content and another inode; an earlier one is used again."""
    if not _is_copy(copy, library):
        aside = _aside(copy)
        try:
            shutil.copyfile(library.path, aside)
            aside.replace(copy)
        finally:
            aside.unlink(missing_ok=True)
    return copy


def _is_copy(path: Path, library: Elf) -> bool:
    try:
        status = path.lstat()
        same_file = (status.st_dev, status.st_ino) == (library.device, library.inode)
        if same_file or status.st_size != library.size:
            return False
        return read_runtime(path).build_id == library.build_id
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
