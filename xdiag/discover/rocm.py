"""ROCm on disk: installations under a prefix, and AMD's Python packages of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.discover.distributions import normalised
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xdiag.discover.distributions import Distributions
    from xdiag.discover.root import Root

#: Variables that name a prefix; hipcc, hipconfig and those who open the library by path read them.
_VARIABLES = ("ROCM_PATH", "HIP_PATH")
_USUAL = "/opt/rocm"
#: Below a prefix.  Before ROCm 5.2 HIP was a directory of its own there.
_LIBRARY_DIRS = ("lib", "lib64", "hip/lib")
_WHEEL_DIRS = ("lib",)
_WHEELS = ("_rocm_sdk", "rocm_sdk")


class Installation(Record, frozen=True):
    """A prefix that has, or is said to have, ROCm."""

    prefix: str
    #: Why it was looked at: ``/opt/rocm-6.4.3``, or ``ROCM_PATH (/apps/rocm)``.
    because: str
    #: As .info/version has it: "6.4.3-127"; empty where it says nothing.
    version: str = ""
    #: Those of its library directories that are there; none where the prefix is wrong.
    library_dirs: tuple[str, ...] = ()


class Wheel(Record, frozen=True):
    """One of the packages that ROCm's wheels install: _rocm_sdk_core, _rocm_sdk_devel, ...

    rocm_sdk loads libraries from _rocm_sdk_core and _rocm_sdk_libraries*; _rocm_sdk_devel has
    files of the same again, where ``rocm-sdk init`` has unpacked it (ROCm/TheRock,
    build_tools/packaging/python).
    """

    package: str
    folder: str
    #: The distribution that brought it and its version; empty where none is recorded.
    distribution: str = ""
    version: str = ""
    library_dirs: tuple[str, ...] = ()


def installations(root: Root, environ: Mapping[str, str]) -> tuple[Installation, ...]:
    """Prefixes that the environment names, then all of /opt/rocm*.

    One that is reached under two names is told twice, as are two names for one directory.
    """
    told = [
        (environ[name], f"{name} ({environ[name]})") for name in _VARIABLES if environ.get(name)
    ]
    parent, start = os.path.split(_USUAL)
    usual = [f"{parent}/{name}" for name in root.names(parent) if name.startswith(start)]
    return tuple(
        _installation(prefix, because, root)
        for prefix, because in [*told, *((each, each) for each in usual)]
    )


def wheels(search_path: Sequence[str], installed: Distributions, root: Root) -> tuple[Wheel, ...]:
    """ROCm's packages along a Python search path."""
    found = []
    for entry in search_path:
        for name in root.names(entry):
            folder = os.path.join(entry, name)
            if not name.startswith(_WHEELS) or not name.isidentifier() or not root.is_dir(folder):
                continue
            # The package's name has the distribution's, and may have its version behind it.
            key = normalised(name.lstrip("_"))
            owners = [each for each in installed.found if _is_of(key, each.name)]
            owner = max(owners, key=lambda each: len(each.name), default=None)
            found.append(
                Wheel(
                    package=name,
                    folder=folder,
                    distribution=owner.name if owner else "",
                    version=owner.version if owner else "",
                    library_dirs=_present(folder, _WHEEL_DIRS, root),
                )
            )
    return tuple(found)


def _is_of(package: str, distribution: str) -> bool:
    # "rocm" brings rocm_sdk; the others' packages are called as they are.
    name = "rocm-sdk" if distribution == "rocm" else distribution
    return package == name or (name != "rocm-sdk" and package.startswith(name + "-"))


def _installation(prefix: str, because: str, root: Root) -> Installation:
    text = root.text(f"{prefix}/.info/version") if os.path.isabs(prefix) else ""
    version = text.split("\n", 1)[0].strip()[:64]
    return Installation(
        prefix=prefix,
        because=because,
        version=version if version.isprintable() else "",
        library_dirs=_present(prefix, _LIBRARY_DIRS, root),
    )


def _present(prefix: str, folders: Sequence[str], root: Root) -> tuple[str, ...]:
    paths = [os.path.join(prefix, each) for each in folders]
    return tuple(path for path in paths if root.is_dir(path))
