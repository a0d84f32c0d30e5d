"""The verdict, on outcomes written for it."""

from __future__ import annotations

from msgspec.structs import replace

from xdiag.api.telling import telling
from xdiag.hypotheses import HYPOTHESES
from xdiag.model import (
    Cell,
    Identity,
    Outcome,
    OutcomeKind,
    Prediction,
    Result,
    Step,
    StepRecord,
    Support,
    Verdict,
)
from xdiag.patterns import PATTERNS
from xdiag.verdict import describe, reading, weigh

_USE = Step(actors=("worker",), verb="StreamGetFlags", phase="use")
_SETUP = Step(actors=("main",), verb="open", phase="setup")

OK = Outcome(OutcomeKind.OK)
REFUSED = Outcome(OutcomeKind.ERROR, step=1, call="hipStreamGetFlags", code=709)
HANG = Outcome(OutcomeKind.HANG, died_at=1)
OTHER = Outcome(OutcomeKind.ERROR, step=1, call="hipEventRecord", code=400)
BROKEN = Outcome(OutcomeKind.ERROR, step=0, call="open", message="cannot open")


def _result(pattern: str, outcome: Outcome, fix: str = "none", consumer: str = "driver") -> Result:
    id = f"{pattern}/{fix}/{consumer}"
    return Result(Cell(id, pattern, fix, consumer, steps=(_SETUP, _USE)), outcome)


def _verdict(hypothesis: str, *results: Result) -> Verdict:
    return next(v for v in weigh(results, HYPOTHESES, PATTERNS) if v.hypothesis == hypothesis)


def test_nothing_run_leaves_everything_open() -> None:
    assert {verdict.mark for verdict in weigh((), HYPOTHESES, PATTERNS)} == {Support.OPEN}


def test_what_must_fail_and_works_refutes() -> None:
    verdict = _verdict("thread-bound", _result("cross-thread", OK), _result("same-thread", OK))
    assert verdict.mark == Support.REFUTED
    assert "cross-thread" in verdict.because
    assert verdict.evidence[0].cell == "cross-thread/none/driver"
    assert not verdict.evidence[0].agrees


def test_failing_and_repaired_supports() -> None:
    verdict = _verdict(
        "two-runtimes",
        _result("same-thread", OK),
        _result("second-runtime", REFUSED),
        _result("second-runtime", OK, fix="bind-loaded-runtime"),
    )
    assert verdict.mark == Support.SUPPORTED
    assert all(evidence.agrees for evidence in verdict.evidence)


def test_failing_without_its_fix_tried_stays_open() -> None:
    verdict = _verdict("two-runtimes", _result("second-runtime", REFUSED))
    assert verdict.mark == Support.OPEN and "not tried" in verdict.because


def test_a_fix_that_does_not_help_refutes() -> None:
    verdict = _verdict(
        "thread-bound",
        _result("second-runtime", REFUSED),
        _result("second-runtime", REFUSED, fix="create-in-worker"),
    )
    assert verdict.mark == Support.REFUTED and "does not repair" in verdict.because


def _with_copies(outcome: Outcome, *inodes: int, namespace: int = 0) -> Outcome:
    runtimes = {
        name: Identity(path="/lib", device=1, inode=inode, namespace=namespace if n else 0)
        for n, (name, inode) in enumerate(zip("AB", inodes, strict=False))
    }
    return replace(outcome, runtimes=runtimes)


def test_a_fix_that_leaves_two_copies_is_no_evidence_against_two_runtimes() -> None:
    verdict = _verdict(
        "two-runtimes",
        _result("second-runtime", _with_copies(REFUSED, 1, 2)),
        _result("second-runtime", _with_copies(REFUSED, 1, 2), fix="preload"),
        _result("second-runtime", _with_copies(REFUSED, 1, 2), fix="path-order"),
        _result("second-runtime", _with_copies(OK, 1, 1), fix="unify"),
    )
    assert verdict.mark == Support.SUPPORTED
    assert verdict.because.endswith("and unify repairs it")
    assert {e.cell for e in verdict.evidence} == {
        "second-runtime/none/driver", "second-runtime/unify/driver",
    }  # fmt: skip


def test_a_namespace_that_unify_does_not_reach_leaves_it_open_not_refuted() -> None:
    verdict = _verdict(
        "two-runtimes",
        _result("second-namespace", _with_copies(REFUSED, 1, 1, namespace=1)),
        _result("second-namespace", _with_copies(REFUSED, 1, 1, namespace=1), fix="unify"),
    )
    assert verdict.mark == Support.OPEN
    assert verdict.because == (
        "second-namespace fails as it says, but under its fix (unify) two copies were loaded all"
        " the same"
    )


def test_one_copy_that_refuses_all_the_same_refutes_two_runtimes() -> None:
    verdict = _verdict(
        "two-runtimes",
        _result("second-runtime", _with_copies(REFUSED, 1, 2)),
        _result("second-runtime", _with_copies(REFUSED, 1, 1), fix="unify"),
    )
    assert verdict.mark == Support.REFUTED
    assert "its fix" in verdict.because and "does not repair second-runtime" in verdict.because


def test_two_copies_that_work_under_a_fix_support_nothing() -> None:
    verdict = _verdict(
        "two-runtimes",
        _result("second-runtime", _with_copies(REFUSED, 1, 2)),
        _result("second-runtime", _with_copies(OK, 1, 2), fix="preload"),
    )
    assert verdict.mark == Support.OPEN


def test_where_each_fix_repairs_something_else_none_is_named_for_all() -> None:
    verdict = _verdict(
        "two-runtimes",
        _result("second-runtime-by-name", _with_copies(REFUSED, 1, 2)),
        _result("second-runtime", _with_copies(REFUSED, 1, 2)),
        _result("second-runtime-by-name", _with_copies(OK, 1, 1), fix="path-order"),
        _result("second-runtime", _with_copies(OK, 1, 1), fix="unify"),
    )
    assert verdict.mark == Support.SUPPORTED
    assert "one fix or another repairs them" in verdict.because


def test_other_hypotheses_do_not_ask_how_many_copies_there_are() -> None:
    verdict = _verdict(
        "thread-bound",
        _result("second-runtime", _with_copies(REFUSED, 1, 2)),
        _result("second-runtime", _with_copies(REFUSED, 1, 2), fix="create-in-worker"),
    )
    assert verdict.mark == Support.REFUTED


def test_a_control_that_fails_supports_nothing() -> None:
    verdict = _verdict(
        "thread-bound",
        _result("cross-thread", REFUSED),
        _result("cross-thread", OK, fix="create-in-worker"),
        _result("same-thread", REFUSED),
    )
    # same-thread is not the worker's doing
    assert verdict.mark == Support.OPEN and "same-thread" in verdict.because


def test_silence_of_one_consumer_does_not_hide_the_others_refusal() -> None:
    # As on HIP 7, where most calls do not check: the identity question says -1, the replay runs.
    not_live = Outcome(OutcomeKind.ERROR, step=1, call="hipGetStreamDeviceId", code=-1)
    verdict = _verdict(
        "two-runtimes",
        _result("second-runtime", not_live),
        _result("second-runtime", OK, consumer="replay"),
        _result("second-runtime", OK, fix="bind-loaded-runtime"),
    )
    assert verdict.mark == Support.SUPPORTED


def test_a_hang_after_fork_supports_the_fork_hypothesis() -> None:
    verdict = _verdict("fork", _result("fork-after-init", HANG), _result("fork-before-init", OK))
    assert verdict.mark == Support.SUPPORTED


def test_only_refusals_and_violent_ends_count() -> None:
    assert reading(_result("cross-thread", REFUSED)) == Prediction.FAILS
    assert reading(_result("cross-thread", HANG)) == Prediction.FAILS
    assert reading(_result("cross-thread", OK)) == Prediction.WORKS
    assert reading(_result("cross-thread", OTHER)) is None
    assert reading(_result("cross-thread", BROKEN)) is None
    assert reading(_result("cross-thread", Outcome(OutcomeKind.SKIPPED, reason="x"))) is None


def test_descriptions_name_code_and_call() -> None:
    assert describe(_result("x", REFUSED)) == "709 from hipStreamGetFlags"
    both = Outcome(
        OutcomeKind.CRASH, step=1, call="hipStreamGetFlags", code=709, died_at=1, signal="SIGSEGV"
    )
    assert describe(_result("x", both)) == (
        "709 from hipStreamGetFlags, then SIGSEGV in hipStreamGetFlags"
    )
    assert describe(_result("x", OK)) == "ok"


def test_silence_of_calls_that_do_not_look_is_no_evidence() -> None:
    assert reading(_result("cross-thread", OK), telling={"StreamGetFlags"}) == Prediction.WORKS
    assert reading(_result("cross-thread", OK), telling={"StreamGetDevice"}) is None
    assert reading(_result("cross-thread", REFUSED), telling=()) == Prediction.FAILS
    unasked = StepRecord(step=1, actor="worker", call="hipStreamGetFlags", state="unsupported")
    silent = replace(OK, trace=(unasked,))
    assert reading(_result("cross-thread", silent), telling={"StreamGetFlags"}) is None


def test_the_calls_that_tell_are_those_that_were_measured() -> None:
    old, new = telling("hip", "5.2.21153"), telling("hip", "7.2.53211")
    assert old is not None and new is not None
    assert "StreamGetFlags" in old and "StreamGetFlags" not in new
    assert {"StreamGetCaptureInfo_v2", "GetStreamDeviceId"} <= old & new
    # Newer ones than any that was measured are taken for like the newest.
    assert telling("hip", "99.1.0") == new
    assert telling("hip", "") is None and telling("no-such-platform", "1.0") is None


def test_a_matrix_of_replay_alone_on_hip_7_does_not_clear_a_second_runtime() -> None:
    step = replace(_USE, verb="StreamGetFlags")
    cell = Cell("x", "second-runtime", "none", "replay", steps=(_SETUP, step))
    results = [Result(cell, OK)]

    def verdict(version: str) -> Verdict:
        verdicts = weigh(results, HYPOTHESES, PATTERNS, "hip", telling("hip", version))
        return next(each for each in verdicts if each.hypothesis == "two-runtimes")

    assert verdict("6.4.43484").mark is Support.REFUTED
    assert verdict("7.2.53211").mark is Support.OPEN
    assert "no call failed in second-runtime, but none of those" in verdict("7.2.53211").because
