"""What differs between GPU platforms: names, error numbers, special handles."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Platform:
    """Facts about one platform that the engine and the reports need."""

    id: str
    #: What stands before a call's name: StreamGetFlags is hipStreamGetFlags.
    prefix: str
    #: The error that says "this is no live stream".
    refusal: int
    #: Names that a story may use for values, besides those that it makes.
    constants: dict[str, int]
    #: How the library's file is called, and the export that proves it is one.
    library: str
    proof: str


#: Platforms that are built in, and the modules that know them.
_MODULES = {"hip": "xdiag.platforms.hip"}


def names() -> tuple[str, ...]:
    """The platforms that are built in."""
    return tuple(_MODULES)


def get(name: str) -> Platform:
    """The platform called ``name``; raises KeyError for one that is not built in."""
    platform: Platform = importlib.import_module(_MODULES[name]).PLATFORM
    return platform
