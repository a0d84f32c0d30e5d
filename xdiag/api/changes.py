"""What changed from one version to another.

Answers vary where a call reads freed memory.  An entry has changed where none of the answers of one
version came in the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.api.measured_data import Entry, Measured  # noqa: TC001 - msgspec reads it
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator


class Change(Record, frozen=True):
    """One call with one kind of handle, before and after."""

    call: str
    handle: str
    before: Entry
    after: Entry


def changes(before: Measured, after: Measured) -> tuple[Change, ...]:
    """What differs, in the newer one's order, without what was not asked in one of them."""
    return tuple(_changes(before, after))


def _changes(before: Measured, after: Measured) -> Iterator[Change]:
    for call, row in after.calls.items():
        for handle, now in row.items():
            was = before.calls.get(call, {}).get(handle)
            if was is not None and not (was.unasked or now.unasked) and _differ(was, now):
                yield Change(call=call, handle=handle, before=was, after=now)


def _differ(was: Entry, now: Entry) -> bool:
    if was.absent or now.absent:
        return was.absent != now.absent
    return not set(was.answers) & set(now.answers)
