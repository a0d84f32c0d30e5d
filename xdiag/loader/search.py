"""Directories and lists of them: where the loader looks for a name without a slash.

Source: fillin_rpath, decompose_rpath, open_path and print_search_path in elf/dl-load.c.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.loader.files import Look, Refused, look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xdiag.discover.root import Root

# Limits for one process, many times what a program with a thousand libraries asks for.
_MOST_DIRECTORIES = 20_000
_MOST_FILES = 60_000
_MOST_BYTES = 16 << 20
_MOST_TRACE = 32 << 20


@dataclass(eq=False)
class Directory:
    """A directory that is in one list or more; all share what is known of it."""

    #: As written and expanded, with one slash at its end; empty for the current directory.
    name: str
    #: The list that named it first, for LD_DEBUG: "RPATH", and the file that this is of.
    what: str
    where: str | None
    #: By the subdirectory's place, whether it exists; one that is not here was not looked at yet.
    exists: dict[int, bool] = field(default_factory=dict)


@dataclass(eq=False)
class SearchList:
    """A list of directories; one of which none exists is emptied, and not searched again."""

    directories: list[Directory]
    #: The system's and LD_LIBRARY_PATH stay as they are.
    kept: bool = False


class Searcher:
    """Finds names in lists of directories, and remembers what it saw as the loader does."""

    def __init__(
        self,
        root: Root,
        version: tuple[int, int],
        subdirectories: tuple[str, ...],
        absolute: Callable[[str], str],
        *,
        traced: bool,
    ) -> None:
        self._root = root
        self._version = version
        self._subdirectories = subdirectories
        self._absolute = absolute
        self._known: dict[str, Directory] = {}
        #: errno, which decides whether a search goes on and is part of the last message.
        self.errno = 0
        #: A 32-bit library was passed over.
        self.other_class = False
        #: What LD_DEBUG=libs prints, if anybody wants to know: it is long.
        self.trace: list[str] | None = [] if traced else None
        self._room = _MOST_TRACE
        #: Paths that were tried and not used.
        self.tried: list[str] = []
        #: Directories that were looked into, without a slash at their end.
        self.searched: list[str] = []
        #: The path that was opened last.
        self.last = ""
        self._opened = self._bytes = 0
        #: What an attempt may fail with for the next directory to be tried (bug 31035).
        self._go_on = {errno.ENOENT, errno.EACCES}
        if version >= (2, 39):
            self._go_on.add(errno.ENOTDIR)

    def say(self, line: str) -> None:
        """Put a line into the trace, as long as there is room."""
        if self.trace is not None and self._room > 0:
            self._room -= len(line)
            self.trace.append(line if self._room > 0 else "... and so on")

    def begin(self) -> None:
        """Forget what the search for another name tried."""
        self.tried.clear()
        self.searched.clear()
        self.other_class = False

    def directories(
        self, paths: Iterable[str], what: str, where: str | None, *, kept: bool = False
    ) -> SearchList:
        """A list of these directories, tokens already replaced, each once."""
        found: dict[str, Directory] = {}
        for path in paths:
            name = path
            if name:
                name = f"{name.rstrip('/')}/" if name.strip("/") else "/"
            if name not in self._known and len(self._known) < _MOST_DIRECTORIES:
                directory = Directory(name, what, where)
                if not name.startswith("/"):
                    # The current directory may change, so nothing is remembered.
                    directory.exists = dict.fromkeys(range(len(self._subdirectories)), True)
                self._known[name] = directory
            if name in self._known:
                found.setdefault(name, self._known[name])
        return SearchList(list(found.values()), kept)

    def open_in(
        self, name: str, places: SearchList, program: str, *, only_set_user_id: bool = False
    ) -> tuple[str, Look] | None:
        """The path of the first usable ``name`` in the list; raises Refused as ``look`` does.

        ``program`` is what LD_DEBUG calls the program.
        """
        printed = None
        any_exists = False
        for place, directory in enumerate(places.directories):
            if directory.what != printed:
                printed = directory.what
                self._print_list(places.directories[place:], program)
            self.searched.append(directory.name.rstrip("/") or directory.name or ".")
            exists = False
            for number, subdirectory in enumerate(self._subdirectories):
                if directory.exists.get(number) is False:
                    continue
                path = directory.name + subdirectory + name
                seen = self.open(path)
                if number not in directory.exists:
                    directory.exists[number] = not seen.error or self._is_directory(
                        directory.name + subdirectory
                    )
                exists |= directory.exists[number]
                if not seen.error and only_set_user_id and not seen.mode & stat.S_ISUID:
                    self.tried.append(path)
                    self.errno = errno.ENOENT
                elif not seen.error:
                    return path, seen
            if exists and self.errno not in self._go_on:
                return None
            any_exists |= exists
        if not any_exists and not places.kept:
            places.directories = []
        return None

    def open(self, path: str, *, printed: bool = True) -> Look:
        """Open a candidate; raises Refused as ``look`` does."""
        self.last = path
        self._opened += 1
        self._bytes += len(path)
        if self._opened > _MOST_FILES or self._bytes > _MOST_BYTES:
            raise Refused("too many files were tried")
        if printed:
            self.say(f"  trying file={path}")
        try:
            seen = look(self._absolute(path), self._root)
        except Refused as refusal:
            self.errno = refusal.error
            raise
        self.errno = seen.error
        if seen.error:
            self.tried.append(path)
            self.other_class |= seen.other_class
        return seen

    def _is_directory(self, path: str) -> bool:
        # Up to 2.37 the slash at the end was cut off, which left nothing of "/" (bug 30435).
        if path == "/" and self._version < (2, 38):
            self.errno = errno.ENOENT
            return False
        try:
            return stat.S_ISDIR(os.stat(self._root.outside(self._absolute(path))).st_mode)
        except OSError as error:
            self.errno = error.errno or errno.ENOENT
        except ValueError:
            self.errno = errno.ENOENT
        return False

    def _print_list(self, rest: list[Directory], program: str) -> None:
        if self.trace is None or self._room <= 0:
            return
        first = rest[0]
        names = []
        for directory in rest:
            if directory.what != first.what:
                break
            for number, subdirectory in enumerate(self._subdirectories):
                if directory.exists.get(number) is not False:
                    path = directory.name + subdirectory
                    names.append(path[:-1] if path not in ("", "/") else path)
        source = first.what
        if first.where is not None:
            source += f" from file {first.where or program}"
        self.say(f" search path={':'.join(names)}\t\t({source})")
