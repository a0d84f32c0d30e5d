"""Which versions of the runtime answer a bad handle how, and what a text tells of the version.

The answers are hip_stream.cpp's, hip_event.cpp's and hip_module.cpp's, and as measured on 5.2.3,
5.7.1, 6.4.3 and 7.2.4; a range that was neither read nor measured is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xdiag.explain import amd_log

if TYPE_CHECKING:
    from collections.abc import Iterable

Version = tuple[int, int]

#: The code of a call that looks into the handle's memory without a check.
FOLLOWED = -1
_FIRST, _LAST = (0, 0), (99, 0)
#: 7.0 removed the check from most stream calls.
_UNCHECKED_FROM = (7, 0)

_CHECKED = ((_FIRST, _UNCHECKED_FROM, 709), (_UNCHECKED_FROM, _LAST, FOLLOWED))

#: Call -> (first version, version behind the last, answer), the answers to a handle that is bad.
_ANSWERS: dict[str, tuple[tuple[Version, Version, int], ...]] = {
    **dict.fromkeys(
        (
            "hipStreamGetFlags",
            "hipStreamGetPriority",
            "hipStreamQuery",
            "hipStreamSynchronize",
            "hipStreamDestroy",
            "hipStreamAddCallback",
        ),
        _CHECKED,
    ),
    "hipStreamGetDevice": (((5, 6), _LAST, 709),),
    "hipStreamWaitEvent": (
        (_FIRST, (5, 6), 709),
        ((5, 7), _UNCHECKED_FROM, 400),
        (_UNCHECKED_FROM, _LAST, FOLLOWED),
    ),
    "hipEventRecord": (
        (_FIRST, (5, 6), 400),
        (_FIRST, (5, 6), FOLLOWED),
        ((5, 7), _UNCHECKED_FROM, 709),
        (_UNCHECKED_FROM, _LAST, FOLLOWED),
    ),
    "hipModuleLaunchKernel": (
        (_FIRST, (5, 3), FOLLOWED),
        ((5, 7), _UNCHECKED_FROM, 1),
        (_UNCHECKED_FROM, _LAST, 709),
    ),
    "hipMemcpyAsync": ((_FIRST, (6, 3), FOLLOWED), (_UNCHECKED_FROM, _LAST, FOLLOWED)),
    "hipMemsetAsync": ((_FIRST, (6, 3), FOLLOWED), (_UNCHECKED_FROM, _LAST, FOLLOWED)),
    "hipStreamBeginCapture": (
        (_FIRST, (5, 3), 1),
        ((5, 5), _UNCHECKED_FROM, 709),
        (_UNCHECKED_FROM, _LAST, FOLLOWED),
    ),
    "hipStreamIsCapturing": ((_FIRST, (5, 3), 1),),
    "hipStreamGetId": ((_UNCHECKED_FROM, _LAST, 400),),
}

#: Calls that a live handle alone passes, up to 6.4.
PROOF = (
    "hipStreamGetFlags",
    "hipStreamGetPriority",
    "hipStreamQuery",
    "hipStreamSynchronize",
)

_FILE = re.compile(rb"libamdhip64\.so\.(\d{1,2})(?:\.(\d{1,2})\b)?")
_DIRECTORY = re.compile(rb"/(?:rocm|hip)-(\d{1,2})\.(\d{1,2})[./]")


class Range(NamedTuple):
    """Versions from ``low`` on, without ``high``."""

    low: Version
    high: Version

    def __str__(self) -> str:
        """``5.7 to 6.4``; the last minor version of each major one is known up to 6."""
        if self.high >= _LAST:
            return f"{_text(self.low)} on"
        last = _before(self.high)
        if self.low <= _FIRST:
            return f"up to {last}"
        return _text(self.low) if _text(self.low) == last else f"{_text(self.low)} to {last}"


def _text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _before(version: Version) -> str:
    major, minor = version
    if minor:
        return f"{major}.{minor - 1}"
    return {6: "5.7", 7: "6.4"}.get(major, f"{major - 1}.x")


def of_path(path: bytes) -> Range | None:
    """The versions that a library's path allows; None where it says nothing of it."""
    match = _DIRECTORY.search(path)
    if match is not None:
        version = (int(match[1]), int(match[2]))
        return Range(version, (version[0], version[1] + 1))
    match = _FILE.search(path)
    if match is None:
        return None
    major = int(match[1])
    if match[2] is not None:
        return Range((major, int(match[2])), (major, int(match[2]) + 1))
    # ROCm 10 ships libamdhip64.so.7 still.
    return Range((major, 0), (major + 1, 0) if major < 7 else _LAST)


def of_era(era: str) -> Range | None:
    """The versions that write such lines; None for an era that is not known."""
    return Range(*amd_log.ERAS[era]) if era in amd_log.ERAS else None


def common(ranges: Iterable[Range]) -> Range | None:
    """What all of these allow; None where there are none, or they contradict each other."""
    told = list(ranges)
    if not told:
        return None
    both = Range(max(each.low for each in told), min(each.high for each in told))
    return both if both.low < both.high else None


def ranges_of(call: str, answer: int) -> tuple[Range, ...]:
    """The versions in which a call answers so to a handle that is bad."""
    return tuple(Range(*each[:2]) for each in _ANSWERS.get(call, ()) if each[2] == answer)


def calls_that_answer(code: int) -> list[tuple[str, tuple[Range, ...]]]:
    """Calls that answer so, in some version, to a handle that they do not know; not 709."""
    if code in (709, FOLLOWED):
        return []
    return [(call, ranges) for call in _ANSWERS if (ranges := ranges_of(call, code))]


def may_mean_bad_handle(call: str, code: int, version: Range | None) -> tuple[Range, ...]:
    """The versions, of those that are possible, in which this answer may mean a bad handle."""
    return tuple(
        each
        for each in ranges_of(call, code)
        if version is None or common((each, version)) is not None
    )


def has_codes_of_its_own(call: str, code: int) -> bool:
    """Whether any version answers with this code, not 709, to a handle that is bad."""
    return code not in (709, FOLLOWED) and bool(ranges_of(call, code))


def either(ranges: Iterable[Range]) -> str:
    """``up to 5.5 and 7.0 on``."""
    return " and ".join(dict.fromkeys(str(each) for each in ranges))
