"""Processes that a signal killed: whether a handle that nobody checked may be the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.explain import amd_log, versions
from xdiag.explain.facts import Failure
from xdiag.explain.handles import is_sign_extended

if TYPE_CHECKING:
    from xdiag.explain.evidence import Crash
    from xdiag.explain.scales import Scales

#: Addresses below this one are NULL with an offset.
_NULL_PAGES = 0x1_0000


def take(scales: Scales, crash: Crash) -> None:
    """Tell of one crash, and weigh what it speaks for."""
    scales.fault = True
    told = versions.of_path(crash.path) or scales.version
    call = amd_log.base_name(crash.call)
    ranges = versions.ranges_of(call, versions.FOLLOWED)
    follows = [each for each in ranges if told is None or versions.common((each, told))]
    new = told is not None and told.low >= (7, 0)
    notes = []
    if follows and amd_log.takes(call) != (None, None):
        notes.append(
            f"{call} follows its handle without a check on HIP {versions.either(ranges)}: what is a"
            " 709 elsewhere is a segmentation fault there"
        )
        which = "this version" if told is not None else "some versions"
        scales.say(
            "unchecked-handle",
            "possible",
            f"it died in {call}, which does not check its handle on {which}",
            crash.line,
            crash.frame,
        )
    elif new and not crash.call and crash.path:
        notes.append(
            "HIP 7 checks the handle in few calls: what is a 709 up to 6.4 is a segmentation"
            " fault there"
        )
        scales.say(
            "unchecked-handle",
            "possible",
            "it died inside HIP 7's library, which checks handles in few calls",
            crash.line,
            crash.frame,
        )
    if crash.handle is not None and _looks_cut(crash.handle):
        scales.say(
            "truncated-handle",
            "possible",
            f"the handle it was given, {crash.handle:#x}, has 32 bits only",
            crash.line,
            crash.frame,
        )
    elif crash.address is not None and _looks_cut(crash.address):
        scales.say(
            "truncated-handle",
            "possible",
            f"the address that it could not reach, {crash.address:#x}, has 32 bits only",
            crash.line,
        )
    scales.failures.append(
        Failure(
            kind=crash.kind,
            platform="hip",
            line=crash.line,
            call=crash.call,
            signal=crash.signal,
            pid=crash.pid,
            thread=crash.thread,
            handle=crash.handle,
            entry=crash.frame if crash.frame != crash.line else None,
            notes=tuple(notes),
        )
    )


def _looks_cut(value: int) -> bool:
    return is_sign_extended(value) or _NULL_PAGES <= value < 1 << 32
