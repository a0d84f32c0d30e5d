"""Telling answers of the shipped table, asked again on the runtimes that are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdiag.api.circumstances import circumstances
from xdiag.api.handles import HANDLES
from xdiag.api.measure import measure
from xdiag.api.questions import QUESTIONS
from xdiag.api.shipped import shipped
from xdiag.errors import XdiagError
from xdiag.runtimes.choose import choose
from xdiag.runtimes.copies import copies

if TYPE_CHECKING:
    from xdiag.api.measured_data import Measured

#: What tells the versions apart: each in its own way in at least two of them.
CALLS = (
    "StreamGetFlags", "StreamQuery", "StreamGetDevice", "StreamGetId", "GetStreamDeviceId",
    "StreamGetCaptureInfo_v2", "StreamWaitEvent", "EventRecord", "MemsetAsync", "GraphLaunch",
    "LaunchKernel", "ModuleLaunchKernel", "StreamWriteValue32",
)  # fmt: skip
#: No freed memory among them: what is found there differs.
KINDS = ("foreign", "garbage", "truncated", "null", "legacy", "per-thread", "stale-per-thread")
#: A stale handle is looked at where the table says that the answer never varied.
STALE = "stale-per-thread"
VERSIONS = [
    pytest.param(each.label, marks=[] if each.label == "5.2" else [pytest.mark.versions])
    for each in shipped()
]


@pytest.fixture(scope="module", params=VERSIONS)
def pair(request: pytest.FixtureRequest) -> tuple[Measured, Measured]:
    """What is shipped for a version, and what its runtime says here and now."""
    try:
        target = choose(request.param, "software")
    except XdiagError as error:
        pytest.skip(f"HIP {request.param} is not here: {error}")
    was = next(each for each in shipped() if each.label == request.param)
    if target.build_id != was.subject.build_id:
        pytest.skip(f"another build of HIP {request.param} is here than was measured")
    now = measure(
        target,
        copies(target),
        questions=[question for question in QUESTIONS if question.call in CALLS],
        handles=[handle for handle in HANDLES if handle.id in KINDS],
        # A call that hangs takes its time in each of them.
        among=[each for each in circumstances(target) if each.id.startswith("fresh")],
        jobs=2,
    )
    return was, now


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_is_the_one_shipped(pair: tuple[Measured, Measured], call: str) -> None:
    was, now = pair
    assert now.calls[call]["live"].answers.keys() == was.calls[call]["live"].answers.keys()
    for handle in KINDS:
        before, after = was.calls[call][handle], now.calls[call][handle]
        if handle == STALE and not set(before.answers) <= {"709", "1", "-1", "400"}:
            continue  # it reads the stream that is gone
        assert set(after.answers) <= set(before.answers), handle
        assert (after.absent, after.unasked) == (before.absent, before.unasked), handle
