"""From a name to a file: the rules for a name without a slash, in their order, and for a path.

Source: _dl_map_object and _dl_init_paths, elf/dl-load.c.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from xdiag.loader import cache
from xdiag.loader.records import PRELOADS, FoundBy, Rule
from xdiag.loader.search import Searcher, SearchList
from xdiag.loader.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xdiag.discover.root import Root
    from xdiag.loader.cpu import Cpu
    from xdiag.loader.files import Look
    from xdiag.loader.glibc import Glibc
    from xdiag.loader.objects import Object
    from xdiag.loader.records import Request


class Lookup:
    """The search rules as they are in one process."""

    def __init__(
        self,
        loader: Glibc,
        root: Root,
        environ: Mapping[str, str],
        program: Object,
        *,
        cwd: str,
        cpu: Cpu,
        secure: bool,
        traced: bool,
    ) -> None:
        self.loader = loader
        self._root = root
        self._program = program
        self._cwd = cwd
        self._cpu = cpu
        self._secure = secure
        self._cache: cache.Cache | None = None
        self.tokens = Tokens(
            lib=loader.lib,
            platform=cpu.platform(loader.version),
            version=loader.version,
            system_dirs=loader.system_dirs,
            secure=secure,
        )
        self.searcher = Searcher(
            root,
            loader.version,
            cpu.subdirectories(loader.version),
            self.absolute,
            traced=traced,
        )
        # The loader makes its lists in this order, and calls a directory that is in several by the
        # list that had it first.
        self._system = self.searcher.directories(
            loader.system_dirs, "system search path", None, kept=True
        )
        self._rpath(program)
        self._runpath(program)
        self._library_path = self._environment_list(environ)

    def find(
        self, name: str, requester: Object, request: Request
    ) -> tuple[str, Look, FoundBy] | None:
        """The path that a name leads to; None if to none.

        Raises Refused where a file in the way ends the search; ``searcher.last`` is its path.
        """
        self.searcher.begin()
        if "/" in name:
            path = self.expand(name, requester)
            if not path:
                self.searcher.errno = errno.ENOENT
                return None
            seen = self.searcher.open(path, printed=False)
            return None if seen.error else (path, seen, self._found_by(Rule.PATH))
        self.searcher.say(f"find library={name} [0]; searching")
        found = self._search(name, requester, request)
        self.searcher.say("")
        return found

    def expand(self, text: str, of: Object) -> str:
        """``text`` with its tokens replaced as in an object; empty where that cannot be."""
        return self.tokens.expand(text, of.origin, of_program=of is self._program)

    def absolute(self, path: str) -> str:
        """A path as seen from the current directory."""
        return os.path.join(self._cwd, path)

    def origin(self, path: str) -> str:
        """l_origin (elf/dl-object.c): what is before the last slash, links and dots as they are."""
        if not path.startswith("/"):
            path = os.path.join(self._root.real_path(self._cwd), path)
        return path[: path.rindex("/")] or "/"

    def called(self, one: Object) -> str:
        """An object as LD_DEBUG calls it."""
        return one.l_name or self._program.loaded.path

    # ---- a name without a slash --------------------------------------------------------------

    def _search(
        self, name: str, requester: Object, request: Request
    ) -> tuple[str, Look, FoundBy] | None:
        # With AT_SECURE, a preload has to be marked as fit for that, and the cache is not asked.
        marked = self._secure and request in PRELOADS
        for rule, of, places in self._lists(requester):
            found = self._open_in(name, places, marked=marked)
            if found is not None:
                return (*found, self._found_by(rule, of))
        if not marked:
            found = self._open_cached(name, requester)
            if found is not None:
                return (*found, self._found_by(Rule.CACHE))
        if requester.elf.nodeflib:
            return None
        found = self._open_in(name, self._system, marked=marked)
        return None if found is None else (*found, self._found_by(Rule.DEFAULT))

    def _lists(self, requester: Object) -> Iterable[tuple[Rule, str, SearchList]]:
        """The lists of directories that come before the cache, each when it is its turn."""
        if not requester.elf.has_runpath:
            up: Object | None = requester
            seen_program = False
            while up is not None:
                if (places := self._rpath(up)).directories:
                    yield Rule.RPATH, up.loaded.path, places
                    seen_program |= up is self._program
                up = up.loader
            if not seen_program and (places := self._rpath(self._program)).directories:
                yield Rule.RPATH, self._program.loaded.path, places
        if self._library_path.directories:
            yield Rule.LIBRARY_PATH, "", self._library_path
        if (places := self._runpath(requester)).directories:
            yield Rule.RUNPATH, requester.loaded.path, places

    def _open_in(self, name: str, places: SearchList, *, marked: bool) -> tuple[str, Look] | None:
        return self.searcher.open_in(
            name, places, self.called(self._program), only_set_user_id=marked
        )

    def _open_cached(self, name: str, requester: Object) -> tuple[str, Look] | None:
        loader = self.loader
        self.searcher.say(f" search cache={loader.cache}")
        if self._cache is None:
            self._cache = cache.read(self._root, loader.cache)
        path = self._cache.lookup(name, self._cpu, loader.version, _kernel())
        if not path:
            return None
        self.searcher.say(f"  trying file={path}")
        if requester.elf.nodeflib and path.startswith(loader.system_dirs):
            return None
        seen = self.searcher.open(path, printed=False)
        return None if seen.error else (path, seen)

    def _found_by(self, rule: Rule, of: str = "") -> FoundBy:
        return FoundBy(rule, of, tried=tuple(self.searcher.tried))

    # ---- lists of directories ----------------------------------------------------------------

    def _rpath(self, of: Object) -> SearchList:
        if of.rpath is None:
            # An object that has both goes by its RUNPATH alone.
            of.rpath = self._list_of(of, "" if of.elf.has_runpath else of.elf.rpath, Rule.RPATH)
        return of.rpath

    def _runpath(self, of: Object) -> SearchList:
        if of.runpath is None:
            of.runpath = self._list_of(of, of.elf.runpath, Rule.RUNPATH)
        return of.runpath

    def _list_of(self, of: Object, text: str, rule: Rule) -> SearchList:
        if not text:
            return SearchList([])
        paths = self._paths(text.split(":"), of)
        return self.searcher.directories(paths, rule.value, of.l_name)

    def _environment_list(self, environ: Mapping[str, str]) -> SearchList:
        text = "" if self._secure else environ.get("LD_LIBRARY_PATH", "")
        if not text:
            return SearchList([])
        paths = self._paths(text.replace(";", ":").split(":"), self._program)
        return self.searcher.directories(paths, Rule.LIBRARY_PATH.value, None, kept=True)

    def _paths(self, paths: Iterable[str], of: Object) -> Iterable[str]:
        """Paths with their tokens replaced; one that cannot be is left out, an empty one stays."""
        for path in paths:
            expanded = self.expand(path, of)
            if expanded or not path:
                yield expanded


def _kernel() -> int:
    """The version of this kernel, as glibc packs it (dl_discover_osversion)."""
    numbers = []
    for part in os.uname().release.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(min(int(digits or 0), 255))
    numbers += [0] * (3 - len(numbers))
    return numbers[0] << 16 | numbers[1] << 8 | numbers[2]
