"""The nouns of a simulated link map: an object, how it was found, a library that is missing."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from xdiag.discover.elf import Elf  # noqa: TC001 - msgspec reads it at run time
from xdiag.errors import CannotRun
from xdiag.model import Record

#: How an object was asked for.
Request = Literal[
    "program", "interpreter", "LD_PRELOAD", "/etc/ld.so.preload",
    "DT_NEEDED", "DT_AUXILIARY", "DT_FILTER", "dlopen",
]  # fmt: skip

PRELOADS = ("LD_PRELOAD", "/etc/ld.so.preload")


class Rule(str, Enum):
    """The loader's rules by which a name leads to a file."""

    PROGRAM = "the program"
    INTERPRETER = "interpreter of the program"
    #: The name has a slash: it is the path.
    PATH = "path"
    RPATH = "RPATH"
    LIBRARY_PATH = "LD_LIBRARY_PATH"
    RUNPATH = "RUNPATH"
    CACHE = "ld.so.cache"
    DEFAULT = "default path"
    SAME_NAME = "already loaded: same name"
    SAME_SONAME = "already loaded: same SONAME"
    SAME_FILE = "already loaded: same file"

    @property
    def is_loaded(self) -> bool:
        """Whether the object was there before it was asked for."""
        return self in (Rule.SAME_NAME, Rule.SAME_SONAME, Rule.SAME_FILE)


class FoundBy(Record, frozen=True):
    """The rule by which an object was found."""

    rule: Rule
    #: The object whose RPATH or RUNPATH it was, or the loaded object that the name led to.
    of: str = ""
    #: LD_PRELOAD or /etc/ld.so.preload, where one of them asked.
    preload: str = ""
    #: Paths that were tried before, in order.
    tried: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``RPATH of /x/liba.so``, ``LD_PRELOAD (path)``, ``already loaded: same SONAME``."""
        text = self.rule.value
        if self.rule in (Rule.RPATH, Rule.RUNPATH):
            text = f"{text} of {self.of}"
        return f"{self.preload} ({text})" if self.preload else text


class Loaded(Record, frozen=True):
    """An object of the link map, as one request met it."""

    #: The loader's l_name: the path by which it was opened, with links as they are.
    path: str
    #: The same with all links followed.
    real_path: str
    elf: Elf
    #: The name asked for, who asked (empty for the program and preloads), and how.
    name: str
    requested_by: str
    request: Request
    found_by: FoundBy

    @property
    def file(self) -> tuple[int, int]:
        """Device and inode: what makes two objects one copy."""
        return self.elf.device, self.elf.inode


class Missing(Record, frozen=True):
    """A library that was asked for and cannot be loaded."""

    name: str
    requested_by: str
    request: Request
    #: In the loader's words: "cannot open shared object file".
    reason: str
    #: The system's words, which may follow: "No such file or directory".
    error: str = ""
    #: What the reason speaks of: the name, or the file that is damaged.
    file: str = ""
    #: Paths that were tried, in order, and the directories that they are in or below.
    tried: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """All that the loader says."""
        return f"{self.reason}: {self.error}" if self.error else self.reason

    def __str__(self) -> str:
        """One sentence: what is missing, who asked, why, where it was looked for."""
        what = _shown(self.name)
        if self.requested_by:
            verb = "opened by" if self.request == "dlopen" else "needed by"
            what = f"{what}, {verb} {_shown(self.requested_by)}"
        elif self.request in PRELOADS:
            what = f"{what}, of {self.request}"
        about = f"{_shown(self.file)}: " if self.file not in ("", self.name) else ""
        text = f"{what}: {about}{self.words}"
        if self.directories and not about:
            text += f"; looked for in {_some(self.directories)}"
        return text


class NotLoaded(CannotRun):
    """The loader would refuse; ``missing`` says what and why."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(str(missing))
        self.missing = missing


def _shown(text: str) -> str:
    """A name on one line, as it is in the file if it can be shown."""
    return text if text.isprintable() else ascii(text)


def _some(directories: tuple[str, ...], most: int = 6) -> str:
    shown = ", ".join(map(_shown, directories[:most]))
    more = len(directories) - most
    return shown if more <= 0 else f"{shown} and {more} more"
