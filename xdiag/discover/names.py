"""Names of files: which runtime a library is of, and how a name that is no text is shown.

``xdiag.loaded`` has the families and the rule for their names; it works alone in other projects,
and so takes nothing from here.
"""

from __future__ import annotations

import os

from xdiag.loaded import FAMILIES, is_named

#: XSched's HIP shim, by its SONAME.  It is installed with links called libamdhip64.so to it and
#: passes calls on: no copy of the runtime, though it goes by the name.
SHIM_SONAME = "libshimhip.so"
SHIM = "libshimhip"

#: The family of which two copies in a process are always a fault.
HIP = "libamdhip64"

_STARTS = tuple(FAMILIES)


def family_of(name: str) -> str:
    """The family of the library whose file has this base name; empty if it is of none."""
    if not name.startswith(_STARTS):
        return ""
    encoded = os.fsencode(name)
    return next((family for family in FAMILIES if is_named(family, encoded)), "")


def version_in(name: str) -> str:
    """The version that a library's file name tells: "6.4.60403" of libamdhip64.so.6.4.60403."""
    return name.partition(".so.")[2].partition("-")[0]


def as_text(name: str) -> str:
    """A name from the file system made fit for a report: bytes that are no UTF-8 as escapes."""
    return name.encode(errors="backslashreplace").decode()


def identity(device: int, inode: int) -> str:
    """``device 8:1 inode 123``: what makes a file that file, as /proc/PID/maps shows it."""
    return f"device {os.major(device)}:{os.minor(device)} inode {inode}"
