"""What the supervisor, the warm parent and a cell's child say to each other.

Supervisor and warm parent speak over a SOCK_SEQPACKET socket, one message a packet.  A child
appends each ``ChildMessage`` to a log that it shares with the supervisor, before or after something
happens, so that the call in flight is always known.
"""

from __future__ import annotations

import msgspec

from xdiag.model import Cell, Identity, StepRecord

#: The largest message in bytes; a cell with all its steps takes about 10 KiB.
MAX_MESSAGE = 1 << 17


class XSchedFiles(msgspec.Struct, frozen=True):
    """XSched's libraries and Python modules for one platform; empty for what is not there."""

    platform: str = "hip"
    hal: str = ""
    preempt: str = ""
    shim: str = ""
    #: Directories to import ``Platform.xsched``'s ``binding`` and ``old_binding`` from.
    binding: str = ""
    old_binding: str = ""
    #: Why something is not there, in one line.
    missing: str = "XSched was not found: --xsched DIR or XSCHED_ROOT says where it is installed"


class Paths(msgspec.Struct, frozen=True):
    """What ``open(first)``, ``open(copy)``, ``open(link)`` open, and the names of it."""

    first: str
    copy: str
    link: str
    #: What ``open(soname)`` and ``open(name)`` ask the loader for: libamdhip64.so.6, which is the
    #: SONAME of both files, and libamdhip64.so.  Empty where the file has no SONAME.
    soname: str
    name: str
    #: Directories in which both names lead to the first file, and to its copy.
    first_directory: str
    copy_directory: str
    xsched: XSchedFiles = XSchedFiles()


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Fork a child for this cell; its log and its output come along as descriptors."""

    number: int
    cell: Cell
    platform: str
    paths: Paths
    #: Steps that killed an earlier child of this cell, left out this time.
    leave_out: tuple[int, ...] = ()


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """Kill a child and its whole process group."""

    number: int


Command = Start | Kill


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The warm parent is up; the first thing that it says.

    ``unfit`` says why no cell can run in it, empty if they can.
    """

    unfit: str = ""


class Started(msgspec.Struct, frozen=True, tag="started"):
    """A child runs."""

    number: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """A child was reaped; ``wait_status`` as from os.waitpid."""

    number: int
    wait_status: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A child could not be forked."""

    number: int
    reason: str


Reply = Ready | Started | Ended | Refused


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A step is about to be done."""

    step: int
    actors: tuple[str, ...]
    call: str
    #: The stream that it is given, where it is given one.
    handle: int | None = None


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """A step was done."""

    record: StepRecord


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A runtime was loaded, or a library of XSched."""

    runtime: str
    identity: Identity
    library: bool = False


class ActorDied(msgspec.Struct, frozen=True, tag="actor-died"):
    """The process of a forked actor ended in the middle of a step."""

    step: int
    wait_status: int


class CannotTell(msgspec.Struct, frozen=True, tag="cannot-tell"):
    """The experiment makes no sense on this machine."""

    reason: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The story was told to its end, or to the step that failed."""


ChildMessage = Begin | Seen | Opened | ActorDied | CannotTell | Finished
