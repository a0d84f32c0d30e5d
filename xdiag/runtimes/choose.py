"""Pick the runtime that an experiment uses, and what executes below it.

A runtime that the user names comes first; else one that finds a GPU; else the newest at hand, over
the software agent.  What is said of the one picked was asked of it, in a process of its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xdiag import platforms
from xdiag.errors import CannotRun, Usage, near_matches
from xdiag.model import Target
from xdiag.runtimes import agent as native_parts
from xdiag.runtimes import cache, entries, find, on_hardware, own_libc, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.model import Loader
    from xdiag.runtimes.find import Candidate

AGENTS = ("auto", "hardware", "software")

#: The kernel driver's device: without it there is no GPU for HIP.
KERNEL_DRIVER = Path("/dev/kfd")
#: Variables that hide devices from HIP, and so may hide all of them.
_HIDING = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
#: Sources in the order in which they are asked for a GPU: what the user's programs load, first.
_HARDWARE_ORDER = ("option", "torch", "rocm", "system", "cache")
#: A version in the place of a path: HIP's, "7.2" or "7.2.4", or a Debian package's, "7.2.4-1~exp2".
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*(-[0-9A-Za-z.+~]+)?")
#: Debian's 5.2.3 is marked so (PT_GNU_STACK); glibc 2.41, NEWS: dlopen no longer makes stacks
#: executable, save with this tunable (measured on 2.41, 2.43 and 2.44).
_WANTS_EXECUTABLE_STACK = "cannot enable executable stack"
_ALLOW_EXECUTABLE_STACK = "glibc.rtld.execstack=2"
#: The agent's knob for how many devices it shows.
_DEVICES = "XDIAG_AGENT_DEVICES"


def choose(
    runtime: str | None = None,
    agent: str = "auto",
    *,
    kernel_cache: bool = True,
    devices: int = 2,
    platform: str = "hip",
) -> Target:
    """The runtime to experiment on: the file ``runtime``, or the best one at hand.

    ``runtime`` may be a version too, ``7.2``: the newest at hand of that one.  ``agent`` is one of
    ``AGENTS``; ``devices`` is how many the software agent shows.  Raises Usage for what makes no
    sense, CannotRun, with all that was tried, where nothing works.
    """
    if agent not in AGENTS:
        hint = near_matches(agent, list(AGENTS))
        raise Usage(f"no agent is called {agent!r}{hint or ': ' + ', '.join(AGENTS)}")
    if devices < 1:
        raise Usage(f"the software agent cannot show {devices} devices: 1 at least")
    facts = platforms.get(platform)
    if not facts.software:
        if agent == "software":
            raise Usage(
                f"the software agent does not serve {facts.title}: it stands in for what is below"
                " AMD's HIP; leave --agent software out"
            )
        return on_hardware.choose(runtime, facts)
    choice = _Choice(facts.library, devices, kernel_cache)
    if runtime is not None and not _is_version(runtime):
        candidates: tuple[Candidate, ...] = (find.from_option(runtime, platform),)
        nothing = ""
    else:
        found = find.find(platform)
        # First what the machine's own programs could load.
        candidates = own_libc.loadable_first(found.usable())
        nothing = _nothing_found(found)
        if runtime is not None:
            nothing = _no_such_version(runtime, candidates)
            candidates = tuple(each for each in candidates if _is_of(each, runtime))
    if not candidates:
        raise CannotRun(nothing + _elsewhere(facts))
    target = None
    if agent != "software":
        target = choice.on_hardware(candidates)
    if target is None and agent != "hardware":
        target = choice.on_software(candidates)
    if target is None:
        raise CannotRun(choice.why_not(agent))
    return target


@dataclass
class _Choice:
    """One choice on its way: what is wanted, and what was learnt."""

    library: str
    devices: int
    kernel_cache: bool
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def on_hardware(self, candidates: tuple[Candidate, ...]) -> Target | None:
        """The first runtime that finds a GPU; None where none does."""
        if not KERNEL_DRIVER.exists():
            self.notes.append(f"No GPU: {KERNEL_DRIVER} is absent.")
            return None
        if not os.access(KERNEL_DRIVER, os.R_OK | os.W_OK):
            self.notes.append(
                f"{KERNEL_DRIVER} may not be opened by this user:"
                " the groups render and video usually may."
            )
        order = sorted(candidates, key=lambda each: _HARDWARE_ORDER.index(each.source))
        for candidate in filter(self._as_fetched, order):
            target = self._on_hardware(candidate)
            if target is not None:
                return target
        self.notes.append("No GPU answered: " + "; ".join(self.failures) + ".")
        return None

    def _on_hardware(self, candidate: Candidate) -> Target | None:
        problem = ""
        loader = own_libc.loader_for(candidate)
        for path in _hardware_paths(candidate):
            answer, environment = self._asked(candidate, path, {}, loader)
            if any(_is_ours(file) for file in answer.hsa):
                problem = "LD_LIBRARY_PATH or LD_PRELOAD puts the software agent below it"
            elif not answer.problem:
                return self._target(candidate, "hardware", answer, path, environment, loader)
            else:
                problem = answer.problem if answer.loaded else problem or answer.problem
            if answer.loaded:
                break  # it is not a library that is missing
        self.failures.append(f"{candidate.real_path}: {problem}{_hidden()}")
        return None

    def on_software(self, candidates: tuple[Candidate, ...]) -> Target | None:
        """The newest runtime that works over the software agent; None where none does."""
        library = native_parts.library()
        self.failures.clear()
        for candidate in filter(self._as_fetched, candidates):
            target = self._on_software(candidate, library)
            if target is not None:
                return target
        return None

    def _as_fetched(self, candidate: Candidate) -> bool:
        """Whether a runtime's file is what was fetched, where it was; it is read for that."""
        entry = own_libc.entry_of(candidate)
        problem = entries.damage_of_main(entry) if entry else ""
        if entry and problem:
            told = f"{candidate.real_path}: not used: {problem}; {entries.mended_by(entry.path)}"
            self.failures.append(told)
        return not problem

    def _on_software(self, candidate: Candidate, library: Path) -> Target | None:
        problem = ""
        loader = own_libc.loader_for(candidate)
        for path, environment, notes in self._software_setups(candidate, library):
            loaded_from = (*path, *(loader.library_path if loader else ()))
            if bad := next((each for each in loaded_from if set(each) & set(cache.SEPARATORS)), ""):
                problem = f"{bad} cannot be in LD_LIBRARY_PATH: it has a colon or semicolon in it"
                continue
            answer, environment = self._asked(candidate, path, environment, loader)
            others = [file for file in answer.hsa if not _is_ours(file)]
            # A preloaded agent answers before any other that is loaded as well.
            first = "LD_PRELOAD" in environment and len(others) < len(answer.hsa)
            if others and not first:
                # A runtime with an RPATH brings its own; the next set-up goes before that.
                problem = f"it keeps to an HSA runtime of its own, {others[0]}"
            elif answer.problem or not answer.hsa:
                problem = answer.problem or "it does without an HSA runtime that could be replaced"
                break
            else:
                self.notes += notes
                if answer.devices != self.devices and _DEVICES in environment:
                    self.notes.append(
                        f"{self.devices} devices were asked for, the runtime shows"
                        f" {answer.devices}{_hidden()}."
                    )
                self.notes += [f"Passed over {failure}." for failure in self.failures]
                return self._target(candidate, "software", answer, path, environment, loader)
        if not any("XDIAG_COMGR" in name for name in environment) and not self._comgr(candidate):
            problem += (
                f" (there is no {_compiler(candidate)} beside it or where the loader looks, and HIP"
                " finds no device without it; name its directory in LD_LIBRARY_PATH)"
            )
        if candidate.source == "cache" and "does not load" in problem:
            problem += " (`xdiag runtimes add --again` fetches what the system lacks by now)"
        self.failures.append(f"{candidate.real_path}: {problem}{_hidden()}")
        return None

    def _asked(
        self,
        candidate: Candidate,
        path: tuple[str, ...],
        environment: dict[str, str],
        loader: Loader | None,
    ) -> tuple[probe.Answer, dict[str, str]]:
        """The runtime's answer, and the variables with which it was given."""

        def ask() -> probe.Answer:
            return probe.ask(
                candidate.real_path, library_path=path, environment=environment, loader=loader
            )

        answer = ask()
        if _WANTS_EXECUTABLE_STACK in answer.problem:
            tunables = (os.environ.get("GLIBC_TUNABLES"), _ALLOW_EXECUTABLE_STACK)
            environment = {**environment, "GLIBC_TUNABLES": ":".join(filter(None, tunables))}
            answer = ask()
            if not answer.problem:
                self.notes.append(
                    "It asks for an executable stack, which glibc refuses from 2.41 on unless"
                    f" {_ALLOW_EXECUTABLE_STACK} is among GLIBC_TUNABLES, as it is here."
                )
        return answer, environment

    def _software_setups(
        self, candidate: Candidate, library: Path
    ) -> Iterator[tuple[tuple[str, ...], dict[str, str], list[str]]]:
        """Ways to put the agent below a runtime, the plainest first."""
        environment = {}
        if not os.environ.get(_DEVICES):  # what the user says stands
            environment[_DEVICES] = str(self.devices)
        path = [str(library.parent)]
        notes = []
        cached = self._kernel_cache(candidate)
        if cached is not None:
            folder, variables = cached
            path.append(folder)
            environment |= variables
            notes.append(
                "AMD's compiler (comgr) is opened once, and the runtime's own kernels are compiled"
                " once, for all cells (--no-kernel-cache: in every cell)."
            )
        path += candidate.library_dirs
        yield tuple(path), environment, notes
        if not set(str(library)) & set(" :"):
            earlier = os.environ.get("LD_PRELOAD", "")
            preload = f"{library} {earlier}".strip()
            note = "The software agent is preloaded: this runtime looks for HSA in its own place."
            yield tuple(path), {**environment, "LD_PRELOAD": preload}, [*notes, note]

    def _comgr(self, candidate: Candidate) -> str:
        """AMD's compiler as this runtime will find it; empty where it will not."""
        name = _compiler(candidate)
        return _file_in(candidate.library_dirs, name) or find.loader_finds(name)

    def _kernel_cache(self, candidate: Candidate) -> tuple[str, dict[str, str]] | None:
        """Directory and variables of the kernel cache; None where it cannot be used."""
        ours = native_parts.kernel_cache(_compiler(candidate)) if self.kernel_cache else None
        real = self._comgr(candidate)
        if ours is None or not real:
            return None
        try:
            kernels = cache.folder("kernels")
        except CannotRun as error:
            self.notes.append(f"Kernels are compiled anew in every process: {error}.")
            return None
        variables = {
            "XDIAG_COMGR_REAL": os.path.realpath(real),
            "XDIAG_COMGR_CACHE": str(kernels),
        }
        return str(ours.parent), variables

    def _target(
        self,
        candidate: Candidate,
        agent: Literal["hardware", "software"],
        answer: probe.Answer,
        path: tuple[str, ...],
        environment: dict[str, str],
        loader: Loader | None,
    ) -> Target:
        if loader is not None:
            self.notes.append(
                f"It needs a newer C library than this machine's glibc {own_libc.machines_libc()}:"
                f" it runs, and xdiag's Python with it, under the loader of glibc {loader.libc}"
                " that it came with."
            )
        return Target(
            platform="hip",
            runtime=candidate.real_path,
            agent=agent,
            version=answer.version or candidate.version,
            soname=candidate.soname,
            build_id=candidate.build_id,
            devices=answer.devices,
            device_name=answer.device_name,
            source=candidate.source,
            library_path=path,
            environment=environment,
            loader=loader,
            compiler=_compiler(candidate) if "XDIAG_COMGR_CACHE" in environment else "",
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def why_not(self, agent: str) -> str:
        """Why no runtime could be used, in one line."""
        if agent == "hardware":
            reasons = [note.rstrip(".") for note in self.notes]
            return "; ".join(reasons) + "; `--agent software` needs no GPU"
        return "no runtime works over the software agent: " + "; ".join(self.failures)


def _hardware_paths(candidate: Candidate) -> tuple[tuple[str, ...], ...]:
    """Library paths to try: none, as the user's programs do; then the runtime's own directory."""
    own = candidate.library_dirs
    if any(set(each) & set(cache.SEPARATORS) for each in own):
        return ((),)
    # A copy of the file, elsewhere, finds nothing by $ORIGIN: it needs the directory in any case.
    by_origin = any("ORIGIN" in each for each in candidate.rpath)
    return (own,) if by_origin or candidate.source == "cache" else ((), own)


def _is_ours(file: str) -> bool:
    try:
        return os.path.samefile(file, native_parts.library())
    except (OSError, CannotRun):
        return False


def _compiler(candidate: Candidate) -> str:
    try:
        return native_parts.compiler_of(candidate.real_path)
    except (OSError, ValueError) as error:
        raise CannotRun(f"{candidate.real_path}: cannot be read: {error}") from error


def _is_version(text: str) -> bool:
    """Whether this is a version, and no file in the working directory that is called so."""
    return _VERSION.fullmatch(text) is not None and not os.path.exists(text)


def _is_of(candidate: Candidate, version: str) -> bool:
    """Whether a runtime is of this version, or of one that it is the beginning of."""
    entry = own_libc.entry_of(candidate)
    # The file's name has HIP's own number, 7.2.53211, the package ROCm's, 7.2.4-1.
    told = (candidate.version, entry.version if entry else "")
    return any(re.match(rf"{re.escape(version)}(?![0-9])", each) for each in told)


def _no_such_version(version: str, candidates: tuple[Candidate, ...]) -> str:
    known = sorted({each.version for each in candidates if each.version}, key=find.version_key)
    for each in entries.refused():
        if entries.means(version, *entries.named(os.path.basename(each.path))):
            return (
                f"HIP {version} is here and is not used: {each.path}: {each.reason};"
                f" {entries.mended_by(each.path)}"
            )
    return (
        f"HIP {version} is not here (there {'is' if len(known) == 1 else 'are'}"
        f" {', '.join(known) or 'none'}): `xdiag runtimes add {version}` fetches it, without root,"
        " where the machine's package archive has it"
    )


def _file_in(folders: tuple[str, ...], name: str) -> str:
    for folder in folders:
        if os.path.isfile(path := os.path.join(folder, name)):
            return path
    return ""


def _hidden() -> str:
    """Variables in the environment that may hide devices, as an addition to a sentence."""
    told = [f"{name}={os.environ[name]!r}" for name in _HIDING if name in os.environ]
    return f" ({' and '.join(told)} may hide devices)" if told else ""


def _elsewhere(facts: platforms.Platform) -> str:
    """Another platform's GPU on this machine, as an addition to a sentence."""
    for name in platforms.names():
        other = platforms.get(name)
        if other.id != facts.id and os.path.exists(other.device):
            return f"; {other.device} is there: `--platform {name}` tests {other.title}"
    return ""


def _nothing_found(found: find.Found) -> str:
    problems = "".join(f"; {each.problem}" for each in found.candidates)
    for each in entries.refused():
        problems += f"; not used: {each.path}: {each.reason}; {entries.mended_by(each.path)}"
    return (
        "no HIP runtime on this machine: `xdiag runtimes add` fetches AMD's, without root, or name"
        f" one with --runtime PATH (looked at: {'; '.join(found.looked)}{problems})"
    )
