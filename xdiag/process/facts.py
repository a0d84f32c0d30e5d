"""The nouns: what is loaded in a process, and how it came there."""

from __future__ import annotations

from typing import Literal

from xdiag.model import Record

#: What is at a mapped file's path now: the same file; gone: nothing; other: another file; changed:
#: a file with another build id (of a core file only); unknown.
AtPath = Literal["same", "gone", "other", "changed", "unknown"]


class LoadedObject(Record, frozen=True):
    """One load of one ELF file.

    ``device`` and ``inode`` make a file that file, as the memory map has them: stat(2) may show
    another device for it (btrfs, overlayfs).  A file loaded twice, in two namespaces of
    dlmopen(3), is two objects.  A core file knows neither: both are 0 there.
    """

    #: As mapped: links followed, seen from the process's mount namespace.
    path: str
    device: int
    inode: int
    #: Of its first mapping.
    address: int
    #: As the loader calls it (l_name); empty for the program, or where the link map is not known.
    name: str = ""
    #: Place on its namespace's list, 0 for the program, and the namespace, 0 for the first; None
    #: where the link map is not known or the object is not on it.
    order: int | None = None
    namespace: int | None = None
    soname: str = ""
    build_id: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""
    executable: bool = False
    at_path: AtPath = "same"
    #: Why what it says of itself cannot be read, or only in part; one line.
    problem: str = ""
    #: Whose library it is: a key of xdiag.loaded.FAMILIES, "xsched" or "torch"; empty for others.
    family: str = ""


class Route(Record, frozen=True):
    """One way by which an object came into the process."""

    #: linked: needed, in the end, by the program; preloaded: by what LD_PRELOAD names; opened: by
    #: what dlopen(3) was asked for, or that itself (then the chain is empty).
    how: Literal["linked", "preloaded", "opened"]
    #: Paths of objects that need each other (DT_NEEDED), the first one first; the last needs the
    #: object itself.
    chain: tuple[str, ...] = ()
    #: False where another object of that name may be meant.
    certain: bool = True


class Copy(Record, frozen=True):
    """One loaded copy of a GPU runtime's library."""

    family: str
    object: LoadedObject
    #: From the file's name or the SONAME: "6.4.60403", "6"; empty if neither has one.
    version: str = ""
    #: One for each object that needs it directly, shortest first; one without a chain if none.
    routes: tuple[Route, ...] = ()
    #: Who may have opened it, where nobody needs it: sentences, each a possibility and no more.
    possible_openers: tuple[str, ...] = ()
    #: xdiag's own stand-in: the software agent, or the cache before AMD's compiler.
    ours: bool = False

    @property
    def major(self) -> int | None:
        """The version's first number."""
        first = self.version.partition(".")[0]
        return int(first) if first.isdecimal() else None


class Descriptor(Record, frozen=True):
    """A GPU's device node that the process has open, and the numbers of its descriptors."""

    path: str
    numbers: tuple[int, ...]


class ProcessFacts(Record, frozen=True):
    """What is known of a process."""

    pid: int
    name: str
    #: As it was started; of a core file the kernel keeps 80 bytes.
    command: tuple[str, ...] = ()
    program: str = ""
    #: R, S, D, T, ...: proc(5); empty for a core file.
    state: str = ""
    #: Seconds since 1970.
    started: float | None = None
    user: int | None = None
    user_name: str = ""
    threads: int = 0
    #: Its number in each pid namespace from the caller's inwards, if there is more than one.
    inner_pids: tuple[int, ...] = ()
    #: Namespaces that are others than the caller's: mnt, pid, user, ...
    other_namespaces: tuple[str, ...] = ()
    #: Variables that bear on which library is loaded, as the process was started with them.
    environment: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    #: Why the environment is not known.
    environment_problem: str = ""
    devices: tuple[Descriptor, ...] = ()
    #: Why the descriptors are not known.
    devices_problem: str = ""
    #: Lines of the memory map.
    mappings: int = 0
    #: Objects loaded, in the order of loading if that is known, else of addresses.
    objects: tuple[LoadedObject, ...] = ()
    copies: tuple[Copy, ...] = ()
    #: Named like a runtime, and by the SONAME something else: paths.
    look_alikes: tuple[str, ...] = ()
    #: Namespaces that the loader told of; 0 where the link map could not be read.
    namespaces: int = 0
    #: Why the link map, and with it the order of loading, is not known or not whole.
    link_map_problem: str = ""
    #: What executes below the runtime, by the HSA runtime that is loaded; empty where none is.
    agent: Literal["", "hardware", "software"] = ""
    #: Path of the core file, and the signal that made it; empty for a running process.
    core: str = ""
    signal: str = ""
    #: What else the reader has to know, in sentences.
    notes: tuple[str, ...] = ()

    def of_family(self, family: str) -> tuple[LoadedObject, ...]:
        """Objects of a family."""
        return tuple(each for each in self.objects if each.family == family)
