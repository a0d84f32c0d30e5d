"""A file tree as those who live in it see it: this machine's, an image's, a container's.

Everything that reads a machine's files goes through a ``Root``, so that an unpacked image is read
like the machine that it will become: absolute links and ``..`` stay inside of it.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

#: Links followed in one path before it counts as a loop (MAXSYMLINKS, linux/namei.h).
_MOST_LINKS = 40
#: Characters of a path, its end included (PATH_MAX, linux/limits.h).
_LONGEST = 4096
#: Bytes read of a text file; more is no configuration file.
_MOST_TEXT = 16 << 20


class Root:
    """The tree below ``path``; with ``/``, this machine's own.

    Paths given to its methods and returned by them are as seen from inside.
    """

    def __init__(self, path: str | os.PathLike[str] = "/") -> None:
        self.path = os.path.abspath(path)
        #: Paths that this user may not read or look into: what is below them is not known.
        self.refused: set[str] = set()

    @property
    def is_this_machine(self) -> bool:
        """Whether paths inside and outside are the same, so that programs in it can be run."""
        return self.path == "/"

    def outside(self, path: str, *, follow: bool = True) -> str:
        """The path by which this process reaches ``path``.

        Without ``follow`` the last part is not followed if it is a link.  Raises OSError for a loop
        of links, and for a path that is too long for the kernel.
        """
        if self.is_this_machine:
            return path
        return self.path + self._resolved(path, follow=follow, strict=True)

    def real_path(self, path: str) -> str:
        """``path`` with all links followed; a part that does not exist stays as it is."""
        if self.is_this_machine:
            return os.path.realpath(path)
        return self._resolved(path, follow=True, strict=False)

    def stat(self, path: str) -> os.stat_result:
        """As os.stat."""
        return os.stat(self.outside(path))

    def lstat(self, path: str) -> os.stat_result:
        """As os.lstat."""
        return os.lstat(self.outside(path, follow=False))

    def read_link(self, path: str) -> str:
        """As os.readlink."""
        return os.readlink(self.outside(path, follow=False))

    def is_file(self, path: str) -> bool:
        """Whether ``path`` leads to a regular file."""
        return stat.S_ISREG(self._mode(path))

    def is_dir(self, path: str) -> bool:
        """Whether ``path`` leads to a directory."""
        return stat.S_ISDIR(self._mode(path))

    def exists(self, path: str) -> bool:
        """Whether ``path`` leads anywhere."""
        return self._mode(path) != 0

    def names(self, path: str) -> list[str]:
        """Sorted names in a directory; empty where there is none that can be listed."""
        try:
            return sorted(os.listdir(self.outside(path)))
        except (OSError, ValueError) as error:
            self.note(path, error)
            return []

    def open(self, path: str) -> BinaryIO:
        """A regular file, opened for reading; raises OSError for anything else.

        A pipe or device is refused rather than waited for.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            fd = os.open(self.outside(path), flags)
        except OSError as error:
            self.note(path, error)
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(fd, "rb")

    def read(self, path: str, most: int = _MOST_TEXT) -> bytes:
        """The first ``most`` bytes of a file; raises OSError where it cannot be read."""
        with self.open(path) as file:
            return file.read(most)

    def text(self, path: str) -> str:
        """A text file; empty where there is none or it cannot be read."""
        try:
            return self.read(path).decode(errors="surrogateescape")
        except (OSError, ValueError):
            return ""

    def note(self, path: str, error: Exception) -> None:
        """Remember a path that this user may not read; other errors are no matter here."""
        if isinstance(error, PermissionError):
            self.refused.add(path)

    def _mode(self, path: str) -> int:
        try:
            return self.stat(path).st_mode
        except (OSError, ValueError) as error:
            self.note(path, error)
            return 0

    def _resolved(self, path: str, *, follow: bool, strict: bool) -> str:
        """What the kernel would make of ``path`` after chroot.

        With ``strict``, a path that asks for a directory where there is none, as ``file/..`` does,
        keeps what the kernel will refuse; otherwise ``..`` takes away what is before it, there or
        not, as os.path.realpath has it.
        """
        if len(path) >= _LONGEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path[:80])
        todo = _parts(path)
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in ("..", "."):
                if strict and not self._is_own_dir(done):
                    return "/" + "/".join([*done, part])
                if part == ".." and done:
                    done.pop()
                continue
            if todo or follow:
                try:
                    target = os.readlink(self.path + "/" + "/".join([*done, part]))
                except (OSError, ValueError):
                    target = None
                if target is not None:
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                    if target.startswith("/"):
                        done.clear()
                    todo += _parts(target)
                    continue
            done.append(part)
        return "/" + "/".join(done)

    def _is_own_dir(self, parts: list[str]) -> bool:
        """Whether these, of which none is a link, lead to a directory."""
        try:
            return stat.S_ISDIR(os.lstat(self.path + "/" + "/".join(parts)).st_mode)
        except (OSError, ValueError):
            return False


def _parts(path: str) -> list[str]:
    """The parts of a path, the last one first; a slash at its end asks for a directory: a dot."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.rstrip(".").endswith("/") and not path.endswith(".."):
        parts.append(".")
    return parts[::-1]
