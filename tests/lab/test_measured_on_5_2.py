"""The matrix on AMD's real HIP 5.2.3, cell by cell against a table measured independently.

The table is what the same questions gave when they were first asked by hand-written C programs on
this runtime; nothing here was copied from xdiag's own output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import cells_for, interpreter_hides_environ

from xdiag.engine.run import Engine
from xdiag.model import OutcomeKind, Result, StepRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.engine.messages import Paths
    from xdiag.model import Target

#: Calls that look the handle up in the set of live streams.
VALIDATED = (
    "hipStreamGetFlags", "hipStreamGetPriority", "hipStreamQuery", "hipStreamSynchronize",
    "hipStreamWaitEvent", "hipStreamAddCallback", "hipStreamDestroy",
)  # fmt: skip
SIGSEGV = "SIGSEGV"
#: hipEventRecord of 5.2 does not check: it reads the freed stream, and what it then does hangs on
#: what lies there.  Both were measured.
USE_AFTER_FREE = "400 or SIGSEGV"

#: pattern -> (what the validated set answers, what hipEventRecord answers)
TABLE: dict[str, tuple[int, int | str]] = {
    "destroyed-stream": (709, USE_AFTER_FREE),
    "second-runtime": (709, 400),
    "second-runtime-deepbind": (709, 400),
    "second-runtime-global": (709, 400),
    "second-namespace": (709, 400),
    "cross-thread": (0, 0),
    "creator-exited": (0, 0),
    "truncated-handle": (709, SIGSEGV),
    "truncated-handle-zero": (709, SIGSEGV),
    "device-reset": (709, USE_AFTER_FREE),
    "fork-after-init": (0, 0),
    "fork-before-init": (0, 0),
    "per-thread-stream": (0, 0),
    "other-device-current": (0, 400),
}
#: Calls that answer otherwise for a special handle.
EXCEPTIONS = {
    ("per-thread-stream", "hipStreamDestroy"): 400,
    ("null-stream", "hipStreamGetFlags"): 1,
    ("null-stream", "hipStreamDestroy"): 400,
}


@pytest.fixture(scope="module")
def results(real_target: Target, real_paths: Paths) -> Mapping[str, Result]:
    """Every pattern without a fix, and some with one, on the real runtime."""
    if not real_target.version.startswith("5.2"):
        pytest.skip(f"the table is for HIP 5.2, this is {real_target.version}")
    if real_target.agent != "software":
        pytest.skip("the table was measured over the software agent, a GPU answers here")
    cells = [
        cell
        for cell in cells_for()
        if cell.fix == "none"
        or (cell.pattern, cell.fix)
        in {
            ("device-reset", "recreate-stream"),
            ("destroyed-stream", "recreate-stream"),
            ("second-runtime", "bind-loaded-runtime"),
            ("second-namespace", "bind-loaded-runtime"),
            ("second-runtime", "primary-context-retain"),
            ("second-runtime", "set-current-context"),
            ("second-runtime", "create-in-worker"),
            ("second-runtime", "native-thread"),
            ("second-runtime", "lazy-context"),
            ("truncated-handle", "full-width-handle"),
            ("truncated-handle", "native-thread"),
        }
    ]
    with Engine(real_target, real_paths, jobs=2) as engine:
        return {result.cell.id: result for result in engine.run(cells)}


def _answers(result: Result) -> dict[str, StepRecord]:
    return {r.call: r for r in result.outcome.trace if r.phase == "use"}


def test_deepbind_crashes_where_the_program_has_a_copy_of_environ(
    results: Mapping[str, Result],
) -> None:
    result = results["second-runtime-deepbind/none/driver"]
    died = next((r for r in result.outcome.trace if r.step == result.outcome.died_at), None)
    crashed_in_init = died is not None and (died.call, died.runtime) == ("hipInit", "B")
    assert crashed_in_init == interpreter_hides_environ()


def _skip_if_it_cannot_start(pattern: str) -> None:
    if pattern == "second-runtime-deepbind" and interpreter_hides_environ():
        pytest.skip("this Python has a copy of environ: the second copy crashes in hipInit")


@pytest.mark.parametrize("pattern", TABLE)
def test_the_validated_set(results: Mapping[str, Result], pattern: str) -> None:
    _skip_if_it_cannot_start(pattern)
    expected, _ = TABLE[pattern]
    answers = _answers(results[f"{pattern}/none/driver"])
    for call in VALIDATED:
        if pattern == "fork-after-init" and call == "hipStreamDestroy":
            assert answers[call].state == "unreached"  # hipEventSynchronize hangs before it
            continue
        assert answers[call].code == EXCEPTIONS.get((pattern, call), expected), call


@pytest.mark.parametrize("pattern", TABLE)
def test_event_record(results: Mapping[str, Result], pattern: str) -> None:
    _skip_if_it_cannot_start(pattern)
    _, expected = TABLE[pattern]
    result = results[f"{pattern}/none/driver"]
    answer = _answers(result)["hipEventRecord"]
    if expected == USE_AFTER_FREE and answer.state == "done":
        assert answer.code == 400
    elif expected in (SIGSEGV, USE_AFTER_FREE):
        assert (result.outcome.kind, result.outcome.signal) == (OutcomeKind.CRASH, "SIGSEGV")
        assert answer.state == "unfinished"
    else:
        assert answer.code == expected


@pytest.mark.parametrize("case", EXCEPTIONS, ids="-".join)
def test_special_handles(results: Mapping[str, Result], case: tuple[str, str]) -> None:
    pattern, call = case
    assert _answers(results[f"{pattern}/none/driver"])[call].code == EXCEPTIONS[case]


def test_the_safe_questions_never_follow_a_bad_handle(results: Mapping[str, Result]) -> None:
    for pattern in ("truncated-handle", "garbage-handle", "second-runtime", "destroyed-stream"):
        answers = _answers(results[f"{pattern}/none/driver"])
        assert answers["hipStreamGetCaptureInfo_v2"].code == 1
        assert answers["hipGetStreamDeviceId"].code == -1
    assert _answers(results["null-stream/none/driver"])["hipStreamGetCaptureInfo_v2"].code == 999


def test_a_call_that_this_version_lacks_is_unsupported(results: Mapping[str, Result]) -> None:
    answers = _answers(results["same-thread/none/driver"])
    assert answers["hipStreamGetDevice"].state == "unsupported"


def test_setting_the_creators_context_in_the_other_copy_succeeds_and_changes_nothing(
    results: Mapping[str, Result],
) -> None:
    result = results["foreign-context/none/driver"]
    set_current = next(r for r in result.outcome.trace if r.call == "hipCtxSetCurrent")
    assert (set_current.runtime, set_current.code) == ("B", 0)
    assert _answers(result)["hipStreamGetFlags"].code == 709


def test_the_legacy_stream_is_not_known_before_6_3(results: Mapping[str, Result]) -> None:
    assert _answers(results["legacy-stream/none/driver"])["hipStreamGetFlags"].code == 709


def test_a_forked_child_passes_every_check_and_then_waits_for_ever(
    results: Mapping[str, Result],
) -> None:
    for consumer in ("driver", "replay"):
        outcome = results[f"fork-after-init/none/{consumer}"].outcome
        assert (outcome.kind, outcome.died_at is not None) == (OutcomeKind.HANG, True)
        stuck = next(r for r in outcome.trace if r.step == outcome.died_at)
        assert stuck.call == "hipEventSynchronize"


def test_an_event_destroyed_twice_is_followed(results: Mapping[str, Result]) -> None:
    # Newer versions say 709; 5.2.3 reads the event that it has freed.
    outcome = results["event-destroyed-twice/none/driver"].outcome
    assert outcome.kind in (OutcomeKind.CRASH, OutcomeKind.ERROR, OutcomeKind.OK)
    assert outcome.call == "hipEventDestroy" or outcome.kind == OutcomeKind.OK


@pytest.mark.parametrize(
    ("pattern", "fix"),
    [
        ("device-reset", "recreate-stream"),
        ("destroyed-stream", "recreate-stream"),
        ("second-runtime", "bind-loaded-runtime"),
        ("second-namespace", "bind-loaded-runtime"),
        ("truncated-handle", "full-width-handle"),
    ],
)
def test_the_right_fix_repairs(results: Mapping[str, Result], pattern: str, fix: str) -> None:
    for consumer in ("driver", "replay"):
        assert results[f"{pattern}/{fix}/{consumer}"].outcome.kind == OutcomeKind.OK


@pytest.mark.parametrize(
    "fix", ["primary-context-retain", "set-current-context", "create-in-worker", "native-thread"]
)
def test_what_the_case_tried_does_not(results: Mapping[str, Result], fix: str) -> None:
    outcome = results[f"second-runtime/{fix}/replay"].outcome
    assert (outcome.code, outcome.call) == (709, "hipStreamGetFlags")


def test_the_replay_stops_where_xsched_exits(results: Mapping[str, Result]) -> None:
    trace = results["second-runtime/none/replay"].outcome.trace
    use = [record for record in trace if record.phase == "use"]
    done = [record.call for record in use if record.state == "done"]
    assert done == [
        "hipCtxGetCurrent", "hipCtxGetDevice", "hipRuntimeGetVersion", "hipGetDeviceProperties",
        "hipStreamGetFlags",
    ]  # fmt: skip
    assert all(record.state == "unreached" for record in use[len(done) :])
