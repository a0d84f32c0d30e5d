"""Which calls tell, by their success, that a runtime knows a stream.

From HIP 7.0 on most calls follow a handle unchecked and return success for the stream of another
copy of the library: their silence says nothing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from xdiag.api.readings import Reading, worst
from xdiag.api.safe import around
from xdiag.api.shipped import shipped

if TYPE_CHECKING:
    from xdiag.api.measured_data import Measured

#: The kind of handle that most resembles a good one: only a look among its own streams tells a
#: runtime that it is none of them.
_FOREIGN = "foreign"


@cache
def telling(platform: str, version: str) -> frozenset[str] | None:
    """Calls, by their names without prefix, that report another copy's stream on this version.

    As measured on it, or on both the newest version before it and the next after it.  None where
    nothing is known: of a platform that was not measured, or without a version.
    """
    measured = [each for each in shipped() if each.subject.platform == platform]
    if not measured or not version:
        return None
    return frozenset.intersection(*(_reporting(each) for each in around(measured, version)))


def _reporting(measured: Measured) -> frozenset[str]:
    """Calls that report another copy's stream on the version that was measured, every time."""
    return frozenset(
        call
        for call, handles in measured.calls.items()
        if _FOREIGN in handles and worst(call, _FOREIGN, handles[_FOREIGN]) is Reading.REPORTS
    )
