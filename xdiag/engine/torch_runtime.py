"""Which copy of the runtime torch's own libraries call, and what is below it."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xdiag.platforms import Platform

#: Of the package torch: the directory of its libraries, and those that are linked against the
#: runtime (ROCm) or open it when they are started (CUDA).
_LIBRARIES = "lib"
_LINKED = ("libc10_hip.so", "libtorch_hip.so")
#: What xdiag's agent exports, and AMD's HSA runtime does not.
_AGENT_MARK = "xdiag_agent_version"


class _Found(ctypes.Structure):
    """Dl_info of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def runtime_of(torch: Any, facts: Platform) -> str:
    """The file whose functions torch's own libraries call, once it has started; empty for none."""
    folder = os.path.join(os.path.dirname(torch.__file__), _LIBRARIES)
    for name in (*(os.path.join(folder, each) for each in _LINKED), f"{facts.library}.1"):
        try:
            # The library itself, loaded or not at all: its symbols are those it is linked against.
            opened = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
            function = ctypes.cast(getattr(opened, facts.proof), ctypes.c_void_p)
        except (OSError, AttributeError):
            continue
        found = _Found()
        if ctypes.CDLL(None).dladdr(function, ctypes.byref(found)) and found.file:
            return os.fsdecode(found.file)
    return ""


def over_our_agent() -> bool:
    """Whether the runtime runs over xdiag's software agent."""
    try:
        agent = ctypes.CDLL("libhsa-runtime64.so.1", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return hasattr(agent, _AGENT_MARK)
