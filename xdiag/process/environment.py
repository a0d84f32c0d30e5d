"""Variables that bear on which library is loaded, or which GPU is used."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARIABLES = re.compile(
    r"LD_(PRELOAD|LIBRARY_PATH|AUDIT)|XSCHED_\w+|(HIP|ROCM|ROCR|CUDA|HSA)_\w+|TRITON_LIBHIP_PATH"
    r"|AMD_LOG_LEVEL"
)
_LONGEST_VALUE = 4096


def relevant(entries: Iterable[bytes]) -> dict[str, str]:
    """Those of an environment's entries (NAME=value) that matter here; the first of a name counts.

    The rest is nobody's business: environments hold passwords.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = os.fsdecode(entry).partition("=")
        if equals and _VARIABLES.fullmatch(name):
            found.setdefault(name, value[:_LONGEST_VALUE])
    return found
