"""Which library a loaded object is: by its SONAME, and by its file's name where it has none.

A runtime that was renamed still says its SONAME; a stub or a shim that goes by the runtime's name
says its own.
"""

from __future__ import annotations

import os
from functools import lru_cache

from xdiag.discover.names import family_of, version_in
from xdiag.loaded import FAMILIES

#: XSched's libraries (its platforms/CMakeLists.txt), and PyTorch's, by the part before ``.so``.
_OTHERS = {
    "libhalhip": "xsched", "libhalcuda": "xsched", "libpreempt": "xsched", "libshimhip": "xsched",
    "libshimcuda": "xsched", "libtorch": "torch", "libtorch_cpu": "torch", "libtorch_hip": "torch",
    "libtorch_cuda": "torch", "libtorch_python": "torch", "libc10": "torch", "libc10_hip": "torch",
}  # fmt: skip


@lru_cache(maxsize=4096)
def family(soname: str, path: str) -> tuple[str, bool]:
    """Family of an object, empty for none, and whether it only goes by a runtime's name."""
    name = os.path.basename(path)
    by_name = family_of(name)
    by_soname = family_of(soname) if soname else by_name
    if by_soname:
        return by_soname, False
    others = (_OTHERS.get(each.partition(".so")[0], "") for each in (soname, name))
    return next(filter(None, others), ""), bool(by_name)


def is_runtime(name: str) -> bool:
    """Whether a family is one of a GPU runtime's libraries."""
    return name in FAMILIES


def version(soname: str, path: str) -> str:
    """The longer of the versions in the file's name and in the SONAME; empty without any."""
    return max((version_in(os.path.basename(path)), version_in(soname)), key=len)
