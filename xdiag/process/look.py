"""Looks at a running process: ``look`` for everything, ``loaded`` for what is loaded alone."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.errors import CannotRun
from xdiag.process import image, libraries, link_map, maps
from xdiag.process.copies import MORE_THAN_LOOKED_AT, as_object, with_copies
from xdiag.process.environment import relevant
from xdiag.process.errors import NothingToSee, Refused
from xdiag.process.facts import Descriptor, ProcessFacts
from xdiag.process.files import MappedFiles
from xdiag.process.memory import ProcessMemory
from xdiag.process.proc import Proc, user_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.discover.elf import Elf
    from xdiag.process.facts import LoadedObject
    from xdiag.process.maps import Load

#: ELF facts of files seen before, by device, inode and path.
Known = dict[tuple[int, int, bytes], "Elf"]

_NAMESPACES = ("mnt", "pid", "user", "net", "ipc", "uts", "cgroup", "time")
_GPU_NODES = re.compile(r"/dev/(kfd|dri/(renderD|card)\d+|nvidia\S*)")
#: Descriptors looked at; more is no reason to let others wait.
_MOST_DESCRIPTORS = 1 << 16


def look(pid: int, known: Known | None = None) -> ProcessFacts:
    """All that can be known of a process.

    Raises Vanished, Refused or NothingToSee, each with one line for the user.
    """
    with Proc(pid) as process:
        return look_at(process, known)


def look_at(process: Proc, known: Known | None = None) -> ProcessFacts:
    """As ``look``, for a process whose directory is open."""
    facts = _who(process)
    if process.leader != process.pid:
        facts = replace(
            facts, notes=(f"{process.pid} is a thread of process {process.leader}", *facts.notes)
        )
    environment, environment_problem = _environment(process)
    facts = replace(facts, environment=environment, environment_problem=environment_problem)
    facts = _with_objects(process, facts, known)
    devices, devices_problem = _devices(process)
    return replace(facts, devices=devices, devices_problem=devices_problem)


def loaded(process: Proc, known: Known | None = None) -> tuple[LoadedObject, ...]:
    """Objects of the runtimes' families, by address, without order and importers: for watching."""
    memory, _ = _memory(process)
    try:
        files = MappedFiles(process, memory, known)
        found = maps.read(process.lines(f"{process.below}maps"))
        objects = [as_object(load, files.read(load))[0] for load in found.loads]
    finally:
        if memory is not None:
            memory.close()
    return tuple(each for each in objects if libraries.is_runtime(each.family))


# ---- what is loaded --------------------------------------------------------------------------


def _with_objects(process: Proc, facts: ProcessFacts, known: Known | None) -> ProcessFacts:
    memory, problem = _memory(process)
    try:
        found = maps.read(process.lines(f"{process.below}maps"))
        if not found.lines and not facts.program:
            raise NothingToSee(
                f"process {process.pid} ({process.name}) has no memory: it is starting or ending"
            )
        files = MappedFiles(process, memory, known)
        pairs = [(*as_object(load, files.read(load)), load) for load in found.loads]
        linked = None
        if memory is not None:
            programs = [
                dynamic for each, _, load in pairs if each.executable
                for dynamic in _dynamic_section(memory, load)
            ]  # fmt: skip
            auxiliary = process.read(f"{process.below}auxv")
            linked = link_map.read(memory, auxiliary, programs)
            problem = linked.problem
    finally:
        if memory is not None:
            memory.close()
    notes = list(facts.notes)
    if found.cut:
        notes.append(MORE_THAN_LOOKED_AT)
    facts = replace(facts, mappings=found.lines, notes=tuple(notes))
    return with_copies(facts, pairs, linked, problem, files)


def _memory(process: Proc) -> tuple[ProcessMemory | None, str]:
    try:
        return ProcessMemory(process), ""
    except Refused:
        return None, (
            "its memory may not be read (the kernel asks for more here than for the memory map;"
            " Yama's ptrace_scope): root may"
        )
    except OSError as error:
        return None, f"its memory cannot be read: {error.strerror or error}"


def _dynamic_section(memory: ProcessMemory, load: Load) -> Iterable[int]:
    seen = image.read(memory, load.start)
    return (seen.dynamic,) if seen is not None and seen.dynamic else ()


# ---- who it is -------------------------------------------------------------------------------


def _who(process: Proc) -> ProcessFacts:
    status = process.status
    try:
        program = process.link(f"{process.below}exe")
    except (FileNotFoundError, OSError):
        program = ""
    _refuse_another_class(process)
    inner = tuple(int(each) for each in status.get("NSpid", "").split())
    command = process.read(f"{process.below}cmdline", 1 << 20).split(b"\0")
    if command and not command[-1]:
        command.pop()
    return ProcessFacts(
        pid=process.pid,
        name=process.name,
        command=tuple(map(os.fsdecode, command)),
        program=program.removesuffix(" (deleted)"),
        state=process.state,
        started=_started(process),
        user=process.user,
        user_name=user_name(process.user),
        threads=int(status.get("Threads", "0")),
        inner_pids=inner if len(inner) > 1 else (),
        other_namespaces=tuple(_other_namespaces(process)),
    )


def _refuse_another_class(process: Proc) -> None:
    """Raise NothingToSee for a 32-bit program: AMD's runtime is built for 64 bits only."""
    try:
        fd = process.open(f"{process.below}exe")
    except (OSError, CannotRun):
        return
    try:
        start = os.pread(fd, 5, 0)
    except OSError:
        return
    finally:
        os.close(fd)
    if start[:4] == b"\x7fELF" and start[4:] == b"\x01":
        raise NothingToSee(
            f"process {process.pid} ({process.name}) is a 32-bit program:"
            " the runtime exists for 64 bits only, so that none can be loaded in it"
        )


def _started(process: Proc) -> float | None:
    """Seconds since 1970; None where the kernel does not say when it booted."""
    with suppress(OSError, ValueError, IndexError), open("/proc/stat", "rb") as lines:
        for line in lines:
            if line.startswith(b"btime "):
                return int(line.split()[1]) + process.start_ticks() / os.sysconf("SC_CLK_TCK")
    return None


def _other_namespaces(process: Proc) -> Iterable[str]:
    for name in _NAMESPACES:
        with suppress(OSError, CannotRun):
            if process.link(f"{process.below}ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                yield name


def _environment(process: Proc) -> tuple[dict[str, str], str]:
    """Variables that matter, as the process was started with them."""
    try:
        data = process.read(f"{process.below}environ", 4 << 20)
    except (OSError, Refused) as error:
        return {}, getattr(error, "strerror", "") or str(error)
    return relevant(data.split(b"\0")), ""


def _devices(process: Proc) -> tuple[tuple[Descriptor, ...], str]:
    """GPU device nodes among its open descriptors."""
    try:
        names = process.names(f"{process.below}fd")
    except (OSError, Refused) as error:
        return (), getattr(error, "strerror", "") or str(error)
    found: dict[str, list[int]] = {}
    for name in names[:_MOST_DESCRIPTORS]:
        with suppress(OSError, ValueError, CannotRun):
            path = process.link(f"{process.below}fd/{name}")
            if _GPU_NODES.fullmatch(path):
                found.setdefault(path, []).append(int(name))
    problem = ""
    if len(names) > _MOST_DESCRIPTORS:
        problem = f"only {_MOST_DESCRIPTORS} of {len(names)} were looked at"
    return tuple(
        Descriptor(path, tuple(sorted(numbers))) for path, numbers in sorted(found.items())
    ), problem
