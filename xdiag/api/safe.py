"""Which calls may be asked about a handle of unknown origin, and in which order.

Only calls that look and do nothing else come into question: the handle may be a good one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.api.handles import BAD
from xdiag.api.questions import QUESTIONS
from xdiag.api.readings import Reading, readings
from xdiag.api.shipped import version_key
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.api.measured_data import Measured


class Safety(Record, frozen=True):
    """One call as a question about a handle.  Kinds of handle are named by their ids."""

    call: str
    #: It crashes or hangs with these, sometimes at least.
    harmed_by: tuple[str, ...] = ()
    #: It says success, sometimes at least, though they are no live streams.
    fooled_by: tuple[str, ...] = ()
    #: It says an error though they are documented as valid.
    refuses: tuple[str, ...] = ()
    #: Versions that do not have it.
    absent_in: tuple[str, ...] = ()

    @property
    def safe(self) -> bool:
        """Whether it returned, whatever the handle was."""
        return not self.harmed_by

    @property
    def tells(self) -> bool:
        """Whether its answer says, for every kind, if the handle is a live stream."""
        return not self.harmed_by and not self.fooled_by


def questions(*measured: Measured) -> tuple[Safety, ...]:
    """The calls that only look, the best to ask first; of several versions, in all of them.

    A call that one of the versions lacks counts there as harmless: it is not asked.  One that all
    of them lack is left out.
    """
    found = [
        safety
        for question in QUESTIONS
        if question.looks and (safety := _safety(question.call, measured)) is not None
    ]
    return tuple(
        sorted(
            found,
            key=lambda each: (
                len(each.harmed_by),
                len(each.fooled_by),
                len(each.absent_in),
                len(each.refuses),
            ),
        )
    )


def _safety(call: str, measured: Sequence[Measured]) -> Safety | None:
    entries = [
        (handle, entry)
        for version in measured
        for handle, entry in version.calls.get(call, {}).items()
        if entry.answers
    ]
    if not entries:
        return None

    def handles(*wanted: Reading, bad: bool | None = None) -> tuple[str, ...]:
        found = (
            handle
            for handle, entry in entries
            if set(wanted) & set(readings(call, handle, entry)) and bad in (None, handle in BAD)
        )
        return tuple(dict.fromkeys(found))

    return Safety(
        call=call,
        harmed_by=handles(Reading.CRASHES, Reading.HANGS),
        fooled_by=handles(Reading.LIES),
        refuses=handles(Reading.REPORTS, bad=False),
        absent_in=tuple(
            version.label
            for version in measured
            if any(entry.absent for entry in version.calls.get(call, {}).values())
        ),
    )


def around(measured: Sequence[Measured], version: str) -> tuple[Measured, ...]:
    """The measurements to go by for a version: its own, else the newest before and the next after.

    Between two that were measured nobody knows when the one became the other: what holds on both
    sides is to be relied on.  Before the oldest and after the newest there is one.  Raises
    ValueError where there is none at all.
    """
    wanted = version_key(".".join(version.split(".")[:2]))
    ordered = sorted(measured, key=lambda each: version_key(each.label))
    if not ordered:
        raise ValueError("nothing was measured")
    before = [each for each in ordered if version_key(each.label) <= wanted]
    after = [each for each in ordered if version_key(each.label) > wanted]
    if before and version_key(before[-1].label) == wanted:
        return (before[-1],)
    return (*before[-1:], *after[:1])
