"""Which calls tell, by their success, that a runtime knows a stream.

From HIP 7.0 on most calls follow a handle unchecked and return success for the stream of another
copy of the library: their silence says nothing.
"""

from __future__ import annotations

from functools import cache

from xdiag.api.readings import Reading, worst
from xdiag.api.safe import nearest
from xdiag.api.shipped import shipped

#: The kind of handle that most resembles a good one: only a look among its own streams tells a
#: runtime that it is none of them.
_FOREIGN = "foreign"


@cache
def telling(platform: str, version: str) -> frozenset[str] | None:
    """Calls, by their names without prefix, that report another copy's stream on this version.

    As measured on it, or on the newest version before it that was.  None where nothing is known:
    of a platform that was not measured, or without a version.
    """
    measured = [each for each in shipped() if each.subject.platform == platform]
    if not measured or not version:
        return None
    calls = nearest(measured, version).calls
    return frozenset(
        call
        for call, handles in calls.items()
        if _FOREIGN in handles and worst(call, _FOREIGN, handles[_FOREIGN]) is Reading.REPORTS
    )
