"""How this Python is started: under the machine's dynamic loader, or under another one.

A runtime that needs a newer C library than the machine has is loaded under the loader of its own
suite.  The C library keeps to what older programs were built for, so the same interpreter runs
there, with all that it has imported here (ld.so(8), ``--library-path``; measured with Python 3.11
of glibc 2.36 under glibc 2.41, 2.43 and 2.44).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.model import Loader


def interpreter(loader: Loader | None, variables: Mapping[str, str]) -> list[str]:
    """The first words of a command that starts this Python with these variables."""
    if loader is None:
        return [sys.executable]
    # It stands in the place of LD_LIBRARY_PATH, which is not read then.
    path = [*filter(None, [variables.get("LD_LIBRARY_PATH")]), *loader.library_path]
    return [loader.path, "--library-path", ":".join(path), sys.executable]
