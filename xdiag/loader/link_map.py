"""The link map of a program that was not started: which file every name leads to.

A ``LinkMap`` begins as execve and ld.so leave it before the program's first instruction; ``open``
goes on as dlopen does.  The rules are those of glibc's elf/rtld.c, dl-load.c, dl-deps.c and
dl-open.c; docs/loader.md lists them in their order, with what is left out.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.discover import elf
from xdiag.discover.elf import BadElf, Elf
from xdiag.loader import cache, glibc
from xdiag.loader.cpu import Cpu, this_cpu
from xdiag.loader.files import Refused
from xdiag.loader.glibc import Glibc, NotGlibc
from xdiag.loader.program import interpreter_of, is_secure
from xdiag.loader.records import FoundBy, Loaded, Missing, NotLoaded, Request, Rule
from xdiag.loader.search import Searcher, SearchList
from xdiag.loader.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xdiag.discover.root import Root
    from xdiag.loader.files import Look

__all__ = ["FoundBy", "LinkMap", "Loaded", "Missing", "NotGlibc", "NotLoaded", "Rule"]

#: The kernel's own shared library, by its SONAME, which is in every x86-64 and AArch64 process.
_VDSO = {"x86_64": "linux-vdso.so.1"}
#: Objects in one map; more is no program but an attack on the reader.
_MOST_OBJECTS = 10_000
#: Longest preload file read, and SECURE_NAME_LIMIT for names in LD_PRELOAD with AT_SECURE.
_LONGEST_NAME_WHEN_SECURE = 255
_LONGEST_PRELOAD = 4095


@dataclass(eq=False)
class _Object:
    """struct link_map: what changes about an object while the map grows."""

    loaded: Loaded
    #: l_name, empty for the program; every name that it was asked for by.
    l_name: str
    names: set[str]
    origin: str = ""
    #: l_loader: whose RPATH counts for it, and on up.
    loader: _Object | None = None
    #: None as long as nobody looked.
    rpath: SearchList | None = None
    runpath: SearchList | None = None
    #: Its DT_NEEDED and what they led to, and so all that it brings along.
    dependencies: list[tuple[str, _Object | None, Loaded | None]] = field(default_factory=list)
    complete: bool = False
    #: Whether it has a search order of its own: it was opened, not only needed.
    opened: bool = False
    #: The kernel's vDSO is in the map, but is no file.
    is_file: bool = True

    @property
    def elf(self) -> Elf:
        return self.loaded.elf

    def answers_to(self, name: str) -> Rule | None:
        if name == self.l_name or name in self.names:
            return Rule.SAME_NAME
        return Rule.SAME_SONAME if self.elf.soname and name == self.elf.soname else None


class LinkMap:
    """Objects in the order of the loader's list, and what else a process of them knows."""

    def __init__(
        self,
        program: _Object,
        loader: Glibc | None,
        root: Root,
        environ: Mapping[str, str],
        *,
        cwd: str,
        cpu: Cpu,
        secure: bool,
        keep_going: bool,
    ) -> None:
        """For ``of_program``: a map that has only the program in it."""
        self._root = root
        self._environ = environ
        self._cwd = cwd
        self._cpu = cpu
        self._secure = secure
        self._keep_going = keep_going
        #: The dynamic loader; None for a statically linked program, which has none.
        self.glibc = loader
        #: Libraries that were needed and not found, with ``keep_going``.
        self._missing: list[Missing] = []
        #: What the loader would print on standard error: preloads that are ignored.
        self._warnings: list[str] = []
        self._program = program
        self._objects = [program]
        self._by_path: dict[str, _Object] = {program.loaded.path: program}
        self._by_name: dict[str, _Object] = {}
        self._by_file: dict[tuple[int, int], _Object] = {}
        version = loader.version if loader is not None else (2, 36)
        system_dirs = loader.system_dirs if loader is not None else ()
        self._tokens = Tokens(
            lib=loader.lib if loader is not None else "",
            platform=cpu.platform(version),
            version=version,
            system_dirs=system_dirs,
            secure=secure,
        )
        self._searcher = Searcher(root, version, cpu.subdirectories(version), self._absolute)
        self._cache: cache.Cache | None = None
        #: What is loaded from now on is loaded by dlopen.
        self._started = False
        # The order decides which list LD_DEBUG names for a directory that is in several.
        self._system = self._searcher.directories(
            system_dirs, "system search path", None, kept=True
        )
        if program.elf.has_runpath:
            program.runpath = self._list_of(program, program.elf.runpath, Rule.RUNPATH)
        else:
            program.rpath = self._list_of(program, program.elf.rpath, Rule.RPATH)
        self._library_path = self._environment_list()
        self._index()

    @classmethod
    def of_program(
        cls,
        path: str,
        root: Root,
        environ: Mapping[str, str],
        *,
        cwd: str = "/",
        keep_going: bool = False,
        cpu: Cpu | None = None,
        secure: bool | None = None,
    ) -> LinkMap:
        """What is loaded when ``path``, seen from inside ``root``, is executed there.

        A script stands for its interpreter.  With ``keep_going`` libraries that are missing are
        collected in ``missing``, as ldd does; without it they raise NotLoaded.  ``secure`` says
        whether the program runs with AT_SECURE; None asks the file's mode and owner.  Raises
        NotLoaded for a program that cannot be executed, and NotGlibc for one of another C library.
        """
        path = interpreter_of(path, root, environ, cwd)
        absolute = os.path.join(cwd, path)
        try:
            facts = elf.read(absolute, root)
            real_path = root.real_path(absolute)
            secure = is_secure(absolute, root) if secure is None else secure
        except (BadElf, OSError) as error:
            raise NotLoaded(Missing(path, "", "program", _said(error, absolute))) from error
        loaded = Loaded(path, real_path, facts, path, "", "program", FoundBy(Rule.PROGRAM))
        if facts.interpreter:
            loader = _loader_of(path, os.path.join(cwd, facts.interpreter), root)
            loader = replace(loader, path=facts.interpreter)
        else:
            loader = None
        program = _Object(loaded, "", {""}, os.path.dirname(real_path))
        link_map = cls(
            program, loader, root, environ,
            cwd=cwd, cpu=cpu or this_cpu(), secure=secure, keep_going=keep_going,
        )  # fmt: skip
        if loader is not None:
            link_map._start(loader)
        link_map._started = True
        return link_map

    # ---- what is in the map ------------------------------------------------------------------

    @property
    def objects(self) -> tuple[Loaded, ...]:
        """The program, then all others, in the order of the loader's list.

        The kernel's vDSO is left out, which is no file.
        """
        return tuple(each.loaded for each in self._objects if each.is_file)

    @property
    def program(self) -> Loaded:
        """The program; for a script, its interpreter."""
        return self._program.loaded

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Libraries that were needed and could not be loaded, with ``keep_going``."""
        return tuple(self._missing)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Preloads that are ignored, a sentence each."""
        return tuple(self._warnings)

    @property
    def trace(self) -> tuple[str, ...]:
        """All searches so far, in the words of LD_DEBUG=libs, and of LD_DEBUG=files what asks."""
        return tuple(self._searcher.trace)

    def dependencies(self, of: Loaded) -> tuple[tuple[str, Loaded | None], ...]:
        """The libraries that an object needs, in order, and what each name led to.

        None stands for a missing one.
        """
        return tuple((name, found) for name, _, found in self._object(of).dependencies)

    # ---- growing it --------------------------------------------------------------------------

    def open(self, name: str, caller: Loaded | None = None, *, noload: bool = False) -> Loaded:
        """As dlopen, called from within ``caller`` (the program, if None).

        The result's ``found_by`` says how the name was met: of an object that was there before,
        by which name, SONAME or file.  RTLD_GLOBAL, RTLD_DEEPBIND and such do not change which
        file that is.  ``noload`` is RTLD_NOLOAD.  Raises NotLoaded, and the map is then as before.
        """
        if self.glibc is None:
            raise NotLoaded(
                Missing(name, self.program.path, "dlopen", "the program is statically linked")
            )
        requester = self._program if caller is None else self._object(caller)
        before = set(self._objects)
        missing = len(self._missing)
        try:
            new, loaded = self._map(name, requester, "dlopen", noload=noload)
            if not new.opened:
                self._map_dependencies([new])
        except NotLoaded:
            # Their order may have changed, and names that they were asked for by stay with them.
            self._objects = [each for each in self._objects if each in before]
            del self._missing[missing:]
            self._index()
            raise
        return loaded

    def _start(self, loader: Glibc) -> None:
        """ld.so's own part: itself, the vDSO, preloads, then what the program needs."""
        own = self._interpreter(loader)
        self._append(own)
        vdso = _VDSO.get(self._cpu.machine)
        if vdso is not None:
            self._append(_vdso(vdso))
        first = len(self._objects)
        for name in self._preloads_of_environment():
            self._preload(name, "LD_PRELOAD")
        # ld.so asks whether the file of preloads is there, and remembers the error if it is not.
        self._searcher.errno = 0 if self._root.exists(loader.preload) else errno.ENOENT
        for name in self._preloads_of_file(loader):
            self._preload(name, "/etc/ld.so.preload")
        searched = self._map_dependencies([self._program, *self._objects[first:]])
        # ld.so stays in the list only where something needs it, at its place in search order.
        self._objects.remove(own)
        if own in searched:
            place = searched.index(own)
            before = self._objects.index(searched[place - 1]) + 1
            is_vdso = before < len(self._objects) and not self._objects[before].is_file
            self._objects.insert(before + is_vdso, own)
        self._index()

    def _preload(self, name: str, source: Request) -> None:
        try:
            self._map(name, self._program, source)
        except NotLoaded as error:
            self._warnings.append(
                f"object '{name}' from {source} cannot be preloaded"
                f" ({error.missing.reason}): ignored"
            )

    def _map_dependencies(self, known: list[_Object]) -> list[_Object]:
        """Load what the first of ``known`` needs, breadth first; the others are preloads.

        Returns the search order.  Source: _dl_map_object_deps, elf/dl-deps.c.
        """
        earlier, self._searcher.errno = self._searcher.errno, 0
        try:
            known[0].opened = True
            return self._breadth_first(known)
        finally:
            self._searcher.errno = self._searcher.errno or earlier

    def _breadth_first(self, known: list[_Object]) -> list[_Object]:
        done: set[_Object] = set()
        present = set(known)
        place = 0
        while place < len(known):
            here = known[place]
            if here in done:
                place += 1
                continue
            done.add(here)
            inserted = place
            for found, is_filtee in self._dependencies_of(here):
                if not is_filtee:
                    if found not in present:
                        known.append(found)
                        present.add(found)
                    continue
                # A filtee comes before the object that names it, in both orders.
                if found in present:
                    if found in known[: inserted + 1]:
                        continue
                    known.remove(found)
                known.insert(inserted, found)
                present.add(found)
                inserted += 1
                self._objects.remove(found)
                self._objects.insert(self._objects.index(here), found)
                self._index()
        return known

    def _dependencies_of(self, here: _Object) -> Iterable[tuple[_Object, bool]]:
        """Load what one object needs; yields each object and whether it is a filtee."""
        if here.complete:
            for _, known, _ in here.dependencies:
                if known is not None:
                    yield known, False
            return
        here.dependencies = []
        complete = True
        for name, request in _wanted(here.elf):
            try:
                expanded = self._expanded(name, here, request)
                if request != "DT_NEEDED":
                    self._searcher.trace.append(
                        f"load auxiliary object={expanded}"
                        f" requested by file={here.l_name or self.program.path}"
                    )
                found, loaded = self._map(expanded, here, request)
            except NotLoaded as error:
                if request == "DT_AUXILIARY":
                    complete = False
                    continue
                if not self._keep_going:
                    raise
                self._missing.append(error.missing)
                here.dependencies.append((name, None, None))
                continue
            here.dependencies.append((name, found, loaded))
            yield found, request != "DT_NEEDED"
        here.complete = complete and not any(each.place >= 0 for each in here.elf.filtees)

    def _expanded(self, name: str, here: _Object, request: Request) -> str:
        """A name of the dynamic section with its tokens replaced (expand_dst, elf/dl-deps.c)."""
        if not self._tokens.holds_one(name):
            return name
        if self._secure:
            raise self._refusal(
                name, here, request, "DST not allowed in SUID/SGID programs", file=name
            )
        expanded = self._tokens.expand(name, here.origin, of_program=here is self._program)
        if not expanded and request == "DT_AUXILIARY":
            raise self._refusal(name, here, request, "empty dynamic string token substitution")
        return expanded

    # ---- one object --------------------------------------------------------------------------

    def _map(
        self, name: str, requester: _Object, request: Request, *, noload: bool = False
    ) -> tuple[_Object, Loaded]:
        """The object that a name leads to, loaded if need be.

        Source: _dl_map_object and _dl_map_object_from_fd, elf/dl-load.c.
        """
        there = self._by_name.get(name)
        if there is not None:
            rule = there.answers_to(name) or Rule.SAME_NAME
            return there, self._again(there, name, requester, request, rule)
        self._searcher.trace.append(
            f"file={name} [0];  "
            f"{'dynamically loaded' if request == 'dlopen' else 'needed'}"
            f" by {requester.l_name or self.program.path} [0]"
        )
        self._searcher.tried.clear()
        self._searcher.searched.clear()
        self._searcher.other_class = False
        try:
            found = self._search(name, requester, request)
        except Refused as error:
            path = self._searcher.trace[-1].removeprefix("  trying file=")
            path = self._opening if "/" in name else path
            said = os.strerror(error.error) if error.error else ""
            refusal = self._refusal(name, requester, request, str(error), said, file=path)
            raise refusal from None
        if found is None:
            reason, number = "cannot open shared object file", self._searcher.errno
            if self._searcher.other_class:
                reason, number = "wrong ELF class: ELFCLASS32", 0
            said = os.strerror(number) if number else ""
            raise self._refusal(name, requester, request, reason, said, file=name)
        path, seen, found_by = found
        return self._map_file(path, seen, found_by, name, requester, request, noload=noload)

    def _map_file(
        self,
        path: str,
        seen: Look,
        found_by: FoundBy,
        name: str,
        requester: _Object,
        request: Request,
        *,
        noload: bool,
    ) -> tuple[_Object, Loaded]:
        absolute = self._absolute(path)
        try:
            status = self._root.stat(absolute)
        except OSError as error:  # it went away just now
            raise self._refusal(name, requester, request, _said(error, path)) from error
        there = self._by_file.get((status.st_dev, status.st_ino))
        if there is not None:
            there.names.add(name)
            self._by_name.setdefault(name, there)
            rule = Rule.SAME_FILE
            return there, self._again(there, name, requester, request, rule, found_by.tried)
        if noload:
            raise self._refusal(name, requester, request, "not loaded (RTLD_NOLOAD)", file=path)
        self._searcher.trace.append(f"file={name} [0];  generating link map")
        try:
            facts = elf.read(absolute, self._root)
        except BadElf as error:
            reason = _said(error, absolute)
            raise self._refusal(name, requester, request, reason, file=path) from error
        problem = _unfit(facts, seen, started=self._started)
        if len(self._objects) >= _MOST_OBJECTS:
            problem = f"more than {_MOST_OBJECTS} objects"
        if problem:
            raise self._refusal(name, requester, request, problem, file=name)
        by_preload = request in ("LD_PRELOAD", "/etc/ld.so.preload")
        loaded = Loaded(
            path=path,
            real_path=self._root.real_path(absolute),
            elf=facts,
            name=name,
            requested_by="" if by_preload else requester.loaded.path,
            request=request,
            found_by=replace(found_by, preload=request if by_preload else ""),
        )
        new = _Object(
            loaded,
            l_name=path,
            names={name},
            origin=self._origin(path),
            loader=None if request == "dlopen" else requester,
        )
        self._append(new)
        return new, loaded

    def _search(
        self, name: str, requester: _Object, request: Request
    ) -> tuple[str, Look, FoundBy] | None:
        """The path that a name leads to; raises Refused where a file in the way ends the search."""
        if "/" in name:
            path = self._tokens.expand(
                name, requester.origin, of_program=requester is self._program
            )
            self._opening = path
            if not path:
                self._searcher.errno = errno.ENOENT
                return None
            seen = self._searcher.open(path, printed=False)
            return None if seen.error else (path, seen, self._found_by(Rule.PATH))
        self._searcher.trace.append(f"find library={name} [0]; searching")
        # With AT_SECURE, a preloaded library has to be marked as fit for it.
        marked = self._secure and request in ("LD_PRELOAD", "/etc/ld.so.preload")
        for rule, of, places in self._lists(requester):
            found = self._searcher.open_in(name, places, self.program.path, only_set_user_id=marked)
            if found is not None:
                self._searcher.trace.append("")
                return (*found, self._found_by(rule, of))
        found = None if marked else self._search_cache(name, requester)
        if found is not None:
            self._searcher.trace.append("")
            return (*found, self._found_by(Rule.CACHE))
        if not requester.elf.nodeflib:
            found = self._searcher.open_in(
                name, self._system, self.program.path, only_set_user_id=marked
            )
        self._searcher.trace.append("")
        return None if found is None else (*found, self._found_by(Rule.DEFAULT))

    def _lists(self, requester: _Object) -> Iterable[tuple[Rule, str, SearchList]]:
        """The lists of directories that come before the cache, each when it is its turn."""
        if not requester.elf.has_runpath:
            up: _Object | None = requester
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

    def _search_cache(self, name: str, requester: _Object) -> tuple[str, Look] | None:
        loader = self.glibc
        if loader is None:
            return None
        self._searcher.trace.append(f" search cache={loader.cache}")
        if self._cache is None:
            self._cache = cache.read(self._root, loader.cache)
        path = self._cache.lookup(name, self._cpu, loader.version, _kernel())
        if not path:
            return None
        self._searcher.trace.append(f"  trying file={path}")
        if requester.elf.nodeflib and path.startswith(loader.system_dirs):
            return None
        seen = self._searcher.open(path, printed=False)
        return None if seen.error else (path, seen)

    # ---- lists of directories ----------------------------------------------------------------

    def _rpath(self, of: _Object) -> SearchList:
        if of.rpath is None:
            # An object that has both goes by its RUNPATH alone.
            text = "" if of.elf.has_runpath else of.elf.rpath
            of.rpath = self._list_of(of, text, Rule.RPATH)
        return of.rpath

    def _runpath(self, of: _Object) -> SearchList:
        if of.runpath is None:
            of.runpath = self._list_of(of, of.elf.runpath, Rule.RUNPATH)
        return of.runpath

    def _list_of(self, of: _Object, text: str, rule: Rule) -> SearchList:
        if not text:
            return SearchList([])
        paths = self._paths(text.split(":"), of)
        return self._searcher.directories(paths, rule.value, of.l_name)

    def _environment_list(self) -> SearchList:
        text = "" if self._secure else self._environ.get("LD_LIBRARY_PATH", "")
        if not text:
            return SearchList([])
        paths = self._paths(text.replace(";", ":").split(":"), self._program)
        return self._searcher.directories(paths, Rule.LIBRARY_PATH.value, None, kept=True)

    def _paths(self, paths: Iterable[str], of: _Object) -> Iterable[str]:
        """Paths with their tokens replaced; one that cannot be is left out, an empty one stays."""
        for path in paths:
            expanded = self._tokens.expand(path, of.origin, of_program=of is self._program)
            if expanded or not path:
                yield expanded

    # ---- preloads ----------------------------------------------------------------------------

    def _preloads_of_environment(self) -> Iterable[str]:
        """Names in LD_PRELOAD (handle_preload_list, elf/rtld.c)."""
        for name in self._environ.get("LD_PRELOAD", "").replace(":", " ").split(" "):
            if not name or len(os.fsencode(name)) > _LONGEST_PRELOAD:
                continue
            if self._secure and ("/" in name or len(name) >= _LONGEST_NAME_WHEN_SECURE):
                continue
            yield name

    def _preloads_of_file(self, loader: Glibc) -> Iterable[str]:
        lines = self._root.text(loader.preload).split("\n")
        for line in lines:
            text = line.partition("#")[0].replace(":", " ").replace("\t", " ")
            yield from filter(None, text.split(" "))

    # ---- small parts -------------------------------------------------------------------------

    def _interpreter(self, loader: Glibc) -> _Object:
        facts = elf.read(os.path.join(self._cwd, loader.path), self._root)
        loaded = Loaded(
            path=loader.path,
            real_path=loader.real_path,
            elf=facts,
            name=loader.path,
            requested_by=self.program.path,
            request="interpreter",
            found_by=FoundBy(Rule.INTERPRETER),
        )
        return _Object(loaded, loader.path, {loader.path}, self._origin(loader.path))

    def _again(
        self,
        there: _Object,
        name: str,
        requester: _Object,
        request: Request,
        rule: Rule,
        tried: tuple[str, ...] = (),
    ) -> Loaded:
        """An object that was there before, as this request met it."""
        by_preload = request in ("LD_PRELOAD", "/etc/ld.so.preload")
        return replace(
            there.loaded,
            name=name,
            requested_by="" if by_preload else requester.loaded.path,
            request=request,
            found_by=FoundBy(rule, there.loaded.path, request if by_preload else "", tried),
        )

    def _append(self, new: _Object) -> None:
        self._objects.append(new)
        self._enter(new)

    def _enter(self, each: _Object) -> None:
        """Make an object known by its names and its file; the first in the list answers to each.

        Only files that were opened are known as such: neither the program's nor ld.so's own was
        (l_file_id, elf/rtld.c).
        """
        self._by_path.setdefault(each.loaded.path, each)
        for name in (each.l_name, *each.names, each.elf.soname):
            if name or each is self._program:
                self._by_name.setdefault(name, each)
        if each.loaded.request not in ("program", "interpreter") and each.is_file:
            self._by_file.setdefault(each.loaded.file, each)

    def _index(self) -> None:
        self._by_path.clear()
        self._by_name.clear()
        self._by_file.clear()
        for each in self._objects:
            self._enter(each)

    def _object(self, loaded: Loaded) -> _Object:
        try:
            return self._by_path[loaded.path]
        except KeyError:
            raise ValueError(f"not an object of this link map: {loaded.path}") from None

    def _absolute(self, path: str) -> str:
        return os.path.join(self._cwd, path)

    def _origin(self, path: str) -> str:
        """l_origin (elf/dl-object.c): what is before the last slash, links and dots as they are."""
        if not path.startswith("/"):
            path = os.path.join(self._root.real_path(self._cwd), path)
        return path[: path.rindex("/")] or "/"

    def _found_by(self, rule: Rule, of: str = "") -> FoundBy:
        return FoundBy(rule, of, tried=tuple(self._searcher.tried))

    def _refusal(
        self,
        name: str,
        requester: _Object,
        request: Request,
        reason: str,
        error: str = "",
        *,
        file: str = "",
    ) -> NotLoaded:
        by_preload = request in ("LD_PRELOAD", "/etc/ld.so.preload")
        return NotLoaded(
            Missing(
                name=name,
                requested_by="" if by_preload else requester.loaded.path,
                request=request,
                reason=reason,
                error=error,
                file=file,
                tried=tuple(self._searcher.tried),
                directories=tuple(dict.fromkeys(self._searcher.searched)),
            )
        )


def _loader_of(program: str, interpreter: str, root: Root) -> Glibc:
    try:
        return glibc.read(interpreter, root)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotLoaded(
            Missing(interpreter, program, "interpreter", f"the dynamic loader: {reason}")
        ) from error


def _vdso(name: str) -> _Object:
    facts = Elf(path=name, device=0, inode=0, size=0, dynamic=True, soname=name)
    loaded = Loaded(name, name, facts, name, "", "interpreter", FoundBy(Rule.INTERPRETER))
    return _Object(loaded, name, {name}, is_file=False)


def _wanted(facts: Elf) -> Iterable[tuple[str, Request]]:
    """DT_NEEDED, DT_AUXILIARY and DT_FILTER in the order in which they stand."""
    filtees = list(facts.filtees)
    for place, name in enumerate(facts.needed):
        while filtees and filtees[0].place <= place:
            filtee = filtees.pop(0)
            yield filtee.name, "DT_AUXILIARY" if filtee.auxiliary else "DT_FILTER"
        yield name, "DT_NEEDED"
    for filtee in filtees:
        yield filtee.name, "DT_AUXILIARY" if filtee.auxiliary else "DT_FILTER"


def _unfit(facts: Elf, seen: Look, *, started: bool) -> str:
    """Why an ELF file for this machine cannot be loaded as a library; empty if it can."""
    if seen.fixed:
        return "cannot dynamically load executable"
    if not facts.dynamic:
        return "object file has no dynamic section"
    if facts.executable:
        return "cannot dynamically load position-independent executable"
    if facts.noopen and started:
        return "shared object cannot be dlopen()ed"
    return ""


def _said(error: OSError | BadElf, path: str) -> str:
    if isinstance(error, BadElf):
        return str(error).removeprefix(f"{path}: ")
    return error.strerror or str(error)


def _kernel() -> int:
    """The version of this kernel, as glibc packs it (dl_discover_osversion)."""
    numbers = []
    for part in os.uname().release.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        numbers.append(min(int(digits or 0), 255))
    numbers += [0] * (3 - len(numbers))
    return numbers[0] << 16 | numbers[1] << 8 | numbers[2]
