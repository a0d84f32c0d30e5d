"""The loader's list of objects, and who in it answers to a name or is a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.discover.elf import Elf
from xdiag.loader.records import FoundBy, Loaded, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.loader.search import SearchList


@dataclass(eq=False)
class Object:
    """What glibc calls a link_map: all that changes about an object while others come."""

    loaded: Loaded
    #: l_name, empty for the program; every name that it was asked for by.
    l_name: str
    names: set[str]
    #: l_origin, what $ORIGIN stands for in it.
    origin: str = ""
    #: l_loader: whose RPATH counts for it, and on up.
    loader: Object | None = None
    #: None as long as nobody looked.
    rpath: SearchList | None = None
    runpath: SearchList | None = None
    #: What it needs: the name as written, the object and how it was met, or None if missing.
    dependencies: list[tuple[str, Object | None, Loaded | None]] = field(default_factory=list)
    #: Whether its dependencies are all known, so that nobody has to ask again.
    complete: bool = False
    #: Whether it has a search order of its own: it was opened, not only needed.
    opened: bool = False
    #: The kernel's vDSO is in the list, but is no file.
    is_file: bool = True

    @property
    def elf(self) -> Elf:
        """What its file says of itself."""
        return self.loaded.elf

    def rule_for(self, name: str) -> Rule:
        """By what it answers to ``name``, given that it does."""
        known = name == self.l_name or name in self.names
        return Rule.SAME_NAME if known else Rule.SAME_SONAME


class ObjectList:
    """All objects in the loader's order; the first that answers to a name is the one meant.

    Source: the first loop of _dl_map_object and that of _dl_map_object_from_fd, elf/dl-load.c.
    """

    def __init__(self, program: Object) -> None:
        self._program = program
        self._list: list[Object] = []
        self._by_path: dict[str, Object] = {}
        self._by_name: dict[str, Object] = {}
        self._by_file: dict[tuple[int, int], Object] = {}
        self.append(program)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._list)

    def __len__(self) -> int:
        return len(self._list)

    def named(self, name: str) -> Object | None:
        """The object that was asked for by this name before, or has it for a path or SONAME."""
        return self._by_name.get(name)

    def with_file(self, file: tuple[int, int]) -> Object | None:
        """The object that was mapped from the file of this device and inode."""
        return self._by_file.get(file)

    def of(self, loaded: Loaded) -> Object:
        """The object that a record speaks of; raises ValueError for one of another map."""
        try:
            return self._by_path[loaded.path]
        except KeyError:
            raise ValueError(f"not an object of this link map: {loaded.path}") from None

    def append(self, new: Object) -> None:
        """Put a new object at the end."""
        self._list.append(new)
        self._enter(new)

    def add_name(self, to: Object, name: str) -> None:
        """Let an object answer to one more name, to which none did so far."""
        to.names.add(name)
        self._by_name.setdefault(name, to)

    def move_before(self, moved: Object, here: Object) -> None:
        """Move an object to just before another."""
        self._list.remove(moved)
        self._list.insert(self._list.index(here), moved)
        self._index()

    def move_after(self, moved: Object, here: Object) -> None:
        """Move an object to just after another, and after the vDSO if that follows."""
        self._list.remove(moved)
        place = self._list.index(here) + 1
        if place < len(self._list) and not self._list[place].is_file:
            place += 1
        self._list.insert(place, moved)
        self._index()

    def keep(self, kept: set[Object]) -> None:
        """Take all others out; order and names of these stay as they have become."""
        self._list = [each for each in self._list if each in kept]
        self._index()

    def _index(self) -> None:
        self._by_path.clear()
        self._by_name.clear()
        self._by_file.clear()
        for each in self._list:
            self._enter(each)

    def _enter(self, each: Object) -> None:
        # The program's l_name is empty, and so dlopen("") is the program.
        self._by_path.setdefault(each.loaded.path, each)
        for name in (each.l_name, *each.names):
            self._by_name.setdefault(name, each)
        if each.elf.soname:
            self._by_name.setdefault(each.elf.soname, each)
        # Neither the program nor ld.so were opened as files by ld.so (l_file_id, elf/rtld.c).
        if each.is_file and each.loaded.request not in ("program", "interpreter"):
            self._by_file.setdefault(each.loaded.file, each)


def vdso(name: str) -> Object:
    """The kernel's own library, which is in the list by its SONAME."""
    facts = Elf(path=name, device=0, inode=0, size=0, dynamic=True, soname=name)
    loaded = Loaded(name, name, facts, name, "", "interpreter", FoundBy(Rule.INTERPRETER))
    return Object(loaded, name, {name}, is_file=False)
