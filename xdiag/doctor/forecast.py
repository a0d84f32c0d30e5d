"""Which copy of a GPU library each party of a program will open, foretold before it starts.

The parties are told to the simulated loader in the order in which a program meets them: the
program itself, torch when it is imported, XSched when its library is loaded, then the other
packages that open a runtime for themselves.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.discover import xsched
from xdiag.discover.mentions import RULES
from xdiag.discover.names import HIP, SHIM_SONAME, family_of
from xdiag.loader.link_map import LinkMap, NotLoaded
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xdiag.discover.mentions import Mention
    from xdiag.doctor.patient import Patient
    from xdiag.loader.link_map import Loaded

PROGRAM, TORCH, XSCHED, SCRIPT = "the program", "torch", "XSched", "the script's own files"
#: Names the library on every page, and opens it only in processes of its own.
OURSELVES = "xdiag"
#: Folders beside an editable project's packages that its programs import nothing of: its tests, and
#: what building it has left (copies of the packages themselves).
_NOT_IMPORTED = ("test", "tests", "build", "dist")
#: Top-level packages that are parties of their own, or the providers of what the others open.
_TOLD_BY_THEMSELVES = ("torch", "xsched", "rocm_sdk", "_rocm_sdk", "xdiag")
#: Functions that open what they are given; a literal that is in a list is given to one of them.
_OPENS = ("CDLL", "PyDLL", "LoadLibrary", "dlopen", "")


class Opening(Record, frozen=True):
    """A party's request for a GPU library, and the file that it leads to."""

    #: "the program", "torch", "XSched", "the package mori".
    party: str
    #: libamdhip64, libhsa-runtime64, ...
    family: str
    #: The name asked for, as written, and the file that asks.
    name: str
    requester: str
    #: The loader's rule that decided: "RPATH of ...", "ld.so.cache", "already loaded: same SONAME".
    rule: str
    #: The file that is opened, links followed, and which file that is.
    path: str
    device: int
    inode: int
    soname: str = ""

    @property
    def file(self) -> tuple[int, int]:
        """What makes two openings one copy."""
        return self.device, self.inode


class Party(Record, frozen=True):
    """What one party will open, or why that cannot be told."""

    name: str
    openings: tuple[Opening, ...] = ()
    #: In a sentence each: what could not be followed.
    problems: tuple[str, ...] = ()
    #: False where its source only mentions the names: it may open them, in some of its ways.
    certain: bool = True


class Forecast(Record, frozen=True):
    """The parties, in the order in which a program meets them."""

    parties: tuple[Party, ...]
    #: The dynamic loader of the program, and the libraries that it has loaded when the program's
    #: own code begins; empty for a program that is statically linked.
    loader: str = ""
    started: tuple[str, ...] = ()

    def party(self, name: str) -> Party | None:
        """The party called ``name``."""
        return next((party for party in self.parties if party.name == name), None)

    def copies(self, family: str, *, certain: bool = False) -> dict[tuple[int, int], list[Opening]]:
        """Openings of a family by the file that they lead to, in order.

        With ``certain``, only those that will happen, not those that may.
        """
        found: dict[tuple[int, int], list[Opening]] = {}
        for party in self.parties:
            for opening in party.openings:
                if opening.family == family and (party.certain or not certain):
                    found.setdefault(opening.file, []).append(opening)
        return found


@functools.lru_cache(maxsize=1)
def forecast(patient: Patient) -> Forecast:
    """Foretell for a patient, once: several checks ask."""
    return _Telling(patient, patient.environ).told()


def forecast_with(patient: Patient, environ: Mapping[str, str]) -> Forecast:
    """Foretell for a patient that would be started with ``environ``: what a change would do."""
    return _Telling(patient, environ).told()


@dataclass
class _Telling:
    """One forecast while it is made."""

    patient: Patient
    environ: Mapping[str, str]
    parties: list[Party] = field(default_factory=list)
    link_map: LinkMap | None = None

    @property
    def map(self) -> LinkMap:
        """The link map, once the program has started."""
        assert self.link_map is not None
        return self.link_map

    def told(self) -> Forecast:
        interpreter = self.patient.interpreter
        # A script's program is its interpreter.
        program = interpreter.path if interpreter is not None else self.patient.program
        if not program:
            return Forecast(())
        self._party(PROGRAM, lambda: self._start(program))
        if self.link_map is None:
            return Forecast(tuple(self.parties))
        loader = self.map.glibc.path if self.map.glibc is not None else ""
        started = tuple(each.path for each in self.map.objects[1:])
        if interpreter is not None and self.patient.torch is not None:
            self._party(TORCH, self._torch)
        if self.patient.xsched.present:
            self._party(XSCHED, self._xsched)
        if interpreter is not None:
            own = self.patient.own_mentions.found
            self._party(SCRIPT, functools.partial(self._package, "", own), certain=False)
            for package, mentions in self._packages().items():
                self._party(
                    f"the package {package}",
                    functools.partial(self._package, package, mentions),
                    certain=False,
                )
        return Forecast(tuple(self.parties), loader, started)

    # ---- the parties' requests, in their order; each yields what came of one -----------------

    def _start(self, program: str) -> Iterator[Loaded]:
        self.link_map = LinkMap.of_program(
            program, self.patient.root, self.environ, cwd=self.patient.cwd, keep_going=True
        )
        yield from self.map.objects

    def _torch(self) -> Iterator[Loaded]:
        """As ``import torch`` does: AMD's wheels first, the global libraries, then _C.

        Source: torch/__init__.py (_load_global_deps and what follows), torch/_rocm_init.py and
        rocm_sdk.initialize_process, which load by absolute path.
        """
        torch = self.patient.torch
        if torch is None:
            return
        root = self.patient.root
        for shortname in torch.preloads:
            path = self._in_wheels(shortname)
            if path:
                yield self.map.open(path, self._ctypes())
        first = f"{torch.folder}/lib/libtorch_global_deps.so"
        if root.is_file(first):
            yield self.map.open(first, self._ctypes())
        for name in root.names(torch.folder):
            if name.startswith("_C.") and name.endswith(".so"):
                yield self.map.open(f"{torch.folder}/{name}", self._python())
                return

    def _xsched(self) -> Iterator[Loaded]:
        """Its library, by the binding or where it is installed, and the runtime that this opens."""
        found = self.patient.xsched
        hal = next((each for each in self.map.objects if _base(each) == xsched.HAL), None)
        for binding in found.bindings:
            if binding.opens and not binding.hidden_by:
                library = self.map.open(binding.opens, self._ctypes())
                yield library
                hal = hal or library
        if hal is None:
            for place in found.installations:
                if xsched.HAL in place.libraries:
                    hal = self.map.open(f"{place.folder}/{xsched.HAL}", self._python())
                    yield hal
                    break
        choice = xsched.chosen_runtime(self.patient.root, self.environ, self.patient.cwd)
        if choice.path:
            yield self.map.open(choice.path, hal or self._python())

    def _package(self, package: str, mentions: Sequence[Mention]) -> Iterator[Loaded]:
        """What a package's files say that it opens, or the rule that is known of it."""
        rule = RULES.get(package)
        if rule is not None:
            named = self.environ.get(rule.variable, "") if rule.variable else ""
            runtimes = (each for each in self.map.objects if family_of(_base(each)) == HIP)
            loaded = next(runtimes, None)
            if named:
                yield from self._tried(named)
            elif loaded is not None and rule.takes_loaded:
                yield loaded
            if named or (loaded is not None and rule.takes_loaded):
                return
        for mention in mentions:
            if mention.kind == "needs":
                yield from self._tried(mention.path)
        for mention in mentions:
            name = self._literal(mention)
            # Packages try one name after the other.
            if name and (found := tuple(self._tried(name))):
                yield from found
                return

    def _literal(self, mention: Mention) -> str:
        """What dlopen is given by a mention, where that is no part of a longer path; else empty."""
        if mention.kind != "opens" or set(mention.name) & set("{}*"):
            return ""
        function = mention.call.rpartition(".")[2]
        if function == "find_library":
            paths = map(os.path.basename, self.patient.loader_cache)
            return next((name for name in paths if family_of(name) == HIP), "")
        if function not in _OPENS and not mention.name.startswith("/"):
            return ""
        return mention.name if family_of(os.path.basename(mention.name)) else ""

    def _tried(self, name: str) -> Iterator[Loaded]:
        """What opening ``name`` leads to; nothing where it fails, as a package then goes on."""
        with contextlib.suppress(NotLoaded):
            yield self.map.open(name, self._ctypes())

    def _packages(self) -> dict[str, tuple[Mention, ...]]:
        """Mentions by package, without the parties that are told by themselves."""
        return {
            package: mentions
            for package, mentions in self.patient.mentions.by_package().items()
            if not package.startswith(_TOLD_BY_THEMSELVES) and package not in _NOT_IMPORTED
        }

    # ---- callers -----------------------------------------------------------------------------

    def _python(self) -> Loaded | None:
        """Whose dlopen Python's import calls: its shared library's, or else the program's."""
        objects = self.map.objects
        return next((each for each in objects if _base(each).startswith("libpython3.")), None)

    def _ctypes(self) -> Loaded | None:
        """Whose dlopen ctypes calls: that of its module, where that is no part of Python itself."""
        python = self.patient.python
        for folder in python.search_path if python is not None else ():
            for name in self.patient.root.names(folder) if folder.endswith("lib-dynload") else ():
                if name.startswith("_ctypes.") and name.endswith(".so"):
                    try:
                        return self.map.open(f"{folder}/{name}", self._python())
                    except NotLoaded:
                        return self._python()
        return self._python()

    def _in_wheels(self, shortname: str) -> str:
        """The library of this short name in AMD's wheels, by its versioned name if it has one."""
        for wheel in self.patient.rocm_wheels:
            for folder in wheel.library_dirs:
                names = [
                    name for name in self.patient.root.names(folder)
                    if name.startswith(f"lib{shortname}.so")
                ]  # fmt: skip
                if names:
                    return os.path.join(folder, min(names, key=lambda each: (len(each) < 16, each)))
        return ""

    # ---- what came of a party's requests -----------------------------------------------------

    def _party(
        self, name: str, requests: Callable[[], Iterator[Loaded]], *, certain: bool = True
    ) -> None:
        """Carry out a party's requests and note which GPU libraries they led to."""
        before = {each.path for each in self.link_map.objects} if self.link_map else set()
        missing = len(self.link_map.missing) if self.link_map else 0
        asked: list[Loaded] = []
        problems: list[str] = []
        try:
            # One by one: what was asked for before one that fails stays.
            asked.extend(requests())
        except NotLoaded as error:
            problems.append(str(error))
        if self.link_map is not None:
            problems += map(str, self.link_map.missing[missing:])
        openings = [self._opening(name, each) for each in asked if _is_gpu_library(each)]
        for each in self.link_map.objects if self.link_map is not None else ():
            if each.path not in before:
                openings += self._needs(name, each)
        if openings or problems or certain:
            unique = tuple(dict.fromkeys(openings))
            self.parties.append(Party(name, unique, tuple(problems), certain))

    def _opening(self, party: str, found: Loaded) -> Opening:
        return Opening(
            party=party,
            family=family_of(_base(found)) or family_of(found.elf.soname),
            name=found.name,
            requester=found.requested_by,
            rule=_rule(found),
            path=found.path,
            device=found.elf.device,
            inode=found.elf.inode,
            soname=found.elf.soname,
        )

    def _needs(self, party: str, requester: Loaded) -> Iterator[Opening]:
        """GPU libraries that an object has among its DT_NEEDED."""
        for needed, found in self.map.dependencies(requester):
            del needed
            if found is not None and _is_gpu_library(found):
                yield self._opening(party, found)


def _base(loaded: Loaded) -> str:
    return os.path.basename(loaded.path)


def _is_gpu_library(loaded: Loaded) -> bool:
    """By the file's name or its SONAME; XSched's shim goes by the name, and is none."""
    if loaded.elf.soname == SHIM_SONAME:
        return False
    return bool(family_of(_base(loaded)) or family_of(loaded.elf.soname))


def _rule(found: Loaded) -> str:
    """The loader's rule, and for what was there already, what it is."""
    rule = found.found_by
    return f"{rule} as {rule.of}" if rule.rule.is_loaded else str(rule)
