"""The link map of a program that was not started: which file every name leads to.

A ``LinkMap`` begins as execve and ld.so leave it before the program's first instruction; ``open``
goes on as dlopen does.  The rules are those of glibc's elf/rtld.c, dl-load.c, dl-deps.c and
dl-open.c; docs/loader.md lists them in their order, with what is left out.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.discover import elf
from xdiag.discover.elf import BadElf
from xdiag.loader import glibc, preloads
from xdiag.loader.cpu import this_cpu
from xdiag.loader.files import Refused
from xdiag.loader.glibc import NotGlibc
from xdiag.loader.lookup import Lookup
from xdiag.loader.objects import Object, ObjectList, vdso
from xdiag.loader.program import interpreter_of, is_secure
from xdiag.loader.records import PRELOADS, FoundBy, Loaded, Missing, NotLoaded, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xdiag.discover.elf import Elf
    from xdiag.discover.root import Root
    from xdiag.loader.cpu import Cpu
    from xdiag.loader.files import Look
    from xdiag.loader.glibc import Glibc
    from xdiag.loader.records import Request

__all__ = ["FoundBy", "LinkMap", "Loaded", "Missing", "NotGlibc", "NotLoaded", "Rule"]

#: The kernel's own shared library, by its SONAME, where ld.so puts it into the list.
_VDSO = {"x86_64": "linux-vdso.so.1", "aarch64": "linux-vdso.so.1", "riscv64": "linux-vdso.so.1"}

# Limits for one map, many times what the largest programs have.
_MOST_OBJECTS = 2_000
_MOST_REQUESTS = 30_000
_MOST_NAMES = 16 << 20
_MOST_FILTEES = 256


class LinkMap:
    """Objects in the loader's order, and what else a process of them knows."""

    def __init__(
        self, program: Object, root: Root, lookup: Lookup | None, *, keep_going: bool
    ) -> None:
        """For ``of_program``: a map with only the program in it; without ``lookup``, for good."""
        self._root = root
        self._lookup = lookup
        self._keep_going = keep_going
        self._program = program
        self._objects = ObjectList(program)
        self._missing: list[Missing] = []
        self._warnings: list[str] = []
        self._requests = self._filtees = self._names = 0
        #: What is loaded from now on is loaded by dlopen.
        self._started = False

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
        traced: bool = False,
    ) -> LinkMap:
        """What is loaded when ``path``, seen from inside ``root``, is executed there.

        A script stands for its interpreter.  With ``keep_going`` libraries that are missing are
        collected in ``missing``, as ldd does; without it the first one raises NotLoaded.
        ``secure`` says whether the program runs with AT_SECURE; None asks the file's mode and
        owner.  With ``traced``, ``trace`` is kept.  Raises NotLoaded for a program that cannot be
        executed, and NotGlibc, which is one too, for a program of another C library.
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
        program = Object(loaded, "", {""}, os.path.dirname(real_path))
        if not facts.interpreter:
            return cls(program, root, None, keep_going=keep_going)
        cpu = cpu or this_cpu()
        loader = glibc.of_program(path, os.path.join(cwd, facts.interpreter), root)
        lookup = Lookup(
            loader, root, environ, program, cwd=cwd, cpu=cpu, secure=secure, traced=traced
        )
        link_map = cls(program, root, lookup, keep_going=keep_going)
        link_map._start(lookup, loader, facts.interpreter, _VDSO.get(cpu.machine))
        for name in preloads.in_environment(environ, secure=secure):
            link_map._preload(name, "LD_PRELOAD")
        # ld.so asks whether the file of preloads is there, and keeps the error if it is not.
        lookup.searcher.errno = 0 if root.exists(loader.preload) else errno.ENOENT
        for name in preloads.in_file(loader.preload, root):
            link_map._preload(name, "/etc/ld.so.preload")
        link_map._finish()
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
    def glibc(self) -> Glibc | None:
        """The dynamic loader; None for a statically linked program, which has none."""
        return self._lookup.loader if self._lookup is not None else None

    @property
    def missing(self) -> tuple[Missing, ...]:
        """Libraries that were needed and could not be loaded, with ``keep_going``."""
        return tuple(self._missing)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What ld.so would warn of: preloads that it ignores, a sentence each."""
        return tuple(self._warnings)

    @property
    def trace(self) -> tuple[str, ...]:
        """All searches, if ``traced``: the words of LD_DEBUG=libs, who asks as LD_DEBUG=files."""
        return tuple(self._lookup.searcher.trace or ()) if self._lookup is not None else ()

    def dependencies(self, of: Loaded) -> tuple[tuple[str, Loaded | None], ...]:
        """The libraries that an object needs, in order, and what each name led to.

        None stands for a missing one.  Raises ValueError for an object of another map.
        """
        return tuple((name, found) for name, _, found in self._objects.of(of).dependencies)

    # ---- growing it --------------------------------------------------------------------------

    def open(self, name: str, caller: Loaded | None = None, *, noload: bool = False) -> Loaded:
        """As dlopen, called from within ``caller`` (the program, if None).

        The result's ``found_by`` says how the name was met: of an object that was there before,
        by which name, SONAME or file.  RTLD_GLOBAL, RTLD_DEEPBIND and such do not change which
        file that is.  ``noload`` is RTLD_NOLOAD.  Raises NotLoaded, and the map is then as before;
        raises ValueError for a caller of another map.
        """
        requester = self._program if caller is None else self._objects.of(caller)
        before = set(self._objects)
        missing = len(self._missing)
        try:
            new, loaded = self._map(name, requester, "dlopen", noload=noload)
            if not new.opened:
                self._map_dependencies([new])
        except NotLoaded:
            self._objects.keep(before)
            del self._missing[missing:]
            raise
        return loaded

    def _start(self, lookup: Lookup, loader: Glibc, path: str, vdso_name: str | None) -> None:
        """Put ld.so itself and the vDSO into the list, which come before all that they load."""
        try:
            facts = elf.read(lookup.absolute(path), self._root)
        except BadElf as error:
            reason = _said(error, lookup.absolute(path))
            raise NotLoaded(
                Missing(path, self.program.path, "interpreter", f"the dynamic loader: {reason}")
            ) from error
        loaded = Loaded(
            path=path,
            real_path=loader.real_path,
            elf=facts,
            name=path,
            requested_by=self.program.path,
            request="interpreter",
            found_by=FoundBy(Rule.INTERPRETER),
        )
        self._objects.append(Object(loaded, path, {path}, lookup.origin(path)))
        if vdso_name is not None:
            self._objects.append(vdso(vdso_name))

    def _preload(self, name: str, source: Request) -> None:
        try:
            self._map(name, self._program, source)
        except NotLoaded as error:
            self._warnings.append(
                f"object '{name}' from {source} cannot be preloaded"
                f" ({error.missing.reason}): ignored"
            )

    def _finish(self) -> None:
        """Load what the program and the preloads need."""
        loader = next(each for each in self._objects if each.loaded.request == "interpreter")
        preloaded = [each for each in self._objects if each.loaded.request in PRELOADS]
        order = self._map_dependencies([self._program, *preloaded])
        # ld.so stays in the list only where something needs it, at its place in search order.
        if loader in order:
            self._objects.move_after(loader, order[order.index(loader) - 1])
        else:
            self._objects.keep(set(self._objects) - {loader})
        self._started = True

    def _map_dependencies(self, known: list[Object]) -> list[Object]:
        """Load what the first of ``known`` needs, breadth first; the others are preloads.

        Returns the search order.  Source: _dl_map_object_deps, elf/dl-deps.c.
        """
        searcher = self._rules().searcher
        earlier, searcher.errno = searcher.errno, 0
        try:
            known[0].opened = True
            return self._breadth_first(known)
        finally:
            searcher.errno = searcher.errno or earlier

    def _breadth_first(self, known: list[Object]) -> list[Object]:
        done: set[Object] = set()
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
                self._objects.move_before(found, here)
        return known

    def _dependencies_of(self, here: Object) -> Iterable[tuple[Object, bool]]:
        """Load what one object needs; yields each object and whether it is a filtee."""
        if here.complete:
            for _, known, _ in here.dependencies:
                if known is not None:
                    yield known, False
            return
        here.dependencies = []
        for name, request in _wanted(here.elf):
            try:
                met = self._dependency(name, here, request)
            except NotLoaded as error:
                if not self._keep_going:
                    raise
                self._missing.append(error.missing)
                here.dependencies.append((name, None, None))
                continue
            if met is not None:
                here.dependencies.append((name, *met))
                yield met[0], request != "DT_NEEDED"
        # Filtees are asked for again each time, as they may move.
        here.complete = not here.elf.filtees

    def _dependency(
        self, name: str, here: Object, request: Request
    ) -> tuple[Object, Loaded] | None:
        """What a name of the dynamic section leads to; None for one that may be left out.

        Source: expand_dst and openaux, elf/dl-deps.c.
        """
        lookup = self._rules()
        say = lookup.searcher.say
        expanded = name
        if lookup.tokens.holds_one(name):
            if lookup.tokens.secure:
                reason = "DST not allowed in SUID/SGID programs"
                raise self._refusal(name, here, request, reason)
            expanded = lookup.expand(name, here)
            reason = "empty dynamic string token substitution"
            if not expanded and request == "DT_AUXILIARY":
                raise self._refusal(name, here, request, reason)
            if not expanded:
                say(f"cannot load auxiliary `{name}' because of {reason}")
                return None
        if request != "DT_NEEDED":
            self._filtees += 1
            if self._filtees > _MOST_FILTEES:
                raise self._refusal(name, here, request, "too many filters")
            file = lookup.called(here)
            say(f"load auxiliary object={expanded} requested by file={file}")
        try:
            return self._map(expanded, here, request)
        except NotLoaded:
            if request == "DT_AUXILIARY":
                return None
            raise

    # ---- one object --------------------------------------------------------------------------

    def _map(
        self, name: str, requester: Object, request: Request, *, noload: bool = False
    ) -> tuple[Object, Loaded]:
        """The object that a name leads to, loaded if need be, and how it was met.

        Source: _dl_map_object, elf/dl-load.c.
        """
        if self._lookup is None:
            raise self._refusal(name, requester, request, "the program is statically linked")
        self._requests += 1
        if self._requests > _MOST_REQUESTS:
            reason = "too much was asked for already"
            raise self._refusal(name, requester, request, reason)
        there = self._objects.named(name)
        if there is not None:
            return there, _met_again(there, there.rule_for(name), name, requester, request)
        searcher = self._lookup.searcher
        verb = "dynamically loaded" if request == "dlopen" else "needed"
        searcher.say(f"file={name} [0];  {verb} by {self._lookup.called(requester)} [0]")
        try:
            found = self._lookup.find(name, requester, request)
        except Refused as error:
            raise self._refusal(
                name, requester, request, str(error), error.error, file=searcher.last
            ) from None
        if found is None:
            if searcher.other_class:
                raise self._refusal(name, requester, request, "wrong ELF class: ELFCLASS32")
            reason = "cannot open shared object file"
            raise self._refusal(name, requester, request, reason, searcher.errno)
        path, seen, found_by = found
        there = self._objects.with_file(seen.file)
        if there is not None:
            self._objects.add_name(there, name)
            again = _met_again(there, Rule.SAME_FILE, name, requester, request, found_by.tried)
            return there, again
        if noload:
            raise self._refusal(name, requester, request, "not loaded (RTLD_NOLOAD)")
        searcher.say(f"file={name} [0];  generating link map")
        return self._map_file(path, seen, found_by, name, requester, request)

    def _map_file(
        self,
        path: str,
        seen: Look,
        found_by: FoundBy,
        name: str,
        requester: Object,
        request: Request,
    ) -> tuple[Object, Loaded]:
        """A new object (_dl_map_object_from_fd, elf/dl-load.c)."""
        lookup = self._rules()
        absolute = lookup.absolute(path)
        try:
            facts = elf.read(absolute, self._root)
        except BadElf as error:
            reason = _said(error, absolute)
            raise self._refusal(name, requester, request, reason, file=path) from error
        problem = _unfit(facts, seen, started=self._started)
        self._names += sum(map(len, facts.needed)) + sum(len(each.name) for each in facts.filtees)
        if len(self._objects) >= _MOST_OBJECTS or self._names > _MOST_NAMES:
            problem = "too much is loaded already"
        if problem:
            raise self._refusal(name, requester, request, problem)
        loaded = Loaded(
            path=path,
            real_path=self._root.real_path(absolute),
            elf=facts,
            name=name,
            requested_by=_requester(requester, request),
            request=request,
            found_by=replace(found_by, preload=request if request in PRELOADS else ""),
        )
        loader = None if request == "dlopen" else requester
        new = Object(loaded, path, {name}, lookup.origin(path), loader)
        self._objects.append(new)
        return new, loaded

    def _rules(self) -> Lookup:
        assert self._lookup is not None, "a static program loads nothing"
        return self._lookup

    def _refusal(
        self,
        name: str,
        requester: Object,
        request: Request,
        reason: str,
        error: int = 0,
        *,
        file: str | None = None,
    ) -> NotLoaded:
        searcher = self._lookup.searcher if self._lookup is not None else None
        return NotLoaded(
            Missing(
                name=name,
                requested_by=_requester(requester, request),
                request=request,
                reason=reason,
                error=os.strerror(error) if error else "",
                file=name if file is None else file,
                tried=tuple(searcher.tried) if searcher is not None else (),
                directories=tuple(dict.fromkeys(searcher.searched)) if searcher is not None else (),
            )
        )


def _met_again(
    there: Object,
    rule: Rule,
    name: str,
    requester: Object,
    request: Request,
    tried: tuple[str, ...] = (),
) -> Loaded:
    """An object that was there before, as this request met it."""
    preload = request if request in PRELOADS else ""
    return replace(
        there.loaded,
        name=name,
        requested_by=_requester(requester, request),
        request=request,
        found_by=FoundBy(rule, there.loaded.path, preload, tried),
    )


def _requester(requester: Object, request: Request) -> str:
    return "" if request in PRELOADS else requester.loaded.path


def _wanted(facts: Elf) -> Iterable[tuple[str, Request]]:
    """DT_NEEDED, DT_AUXILIARY and DT_FILTER in the order in which they stand."""
    filtees = list(facts.filtees)[::-1]
    for place in range(len(facts.needed) + 1):
        while filtees and filtees[-1].place <= place:
            filtee = filtees.pop()
            yield filtee.name, "DT_AUXILIARY" if filtee.auxiliary else "DT_FILTER"
        if place < len(facts.needed):
            yield facts.needed[place], "DT_NEEDED"


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
