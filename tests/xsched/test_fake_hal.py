"""XSched's libraries in a cell: the exit, its line, and libraries that cannot be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from xdiag.engine.messages import XSchedFiles
from xdiag.hypotheses import HYPOTHESES
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.render.labels import label
from xdiag.render.meaning import meaning
from xdiag.verdict import describe, weigh
from xsched.conftest import run_cells

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdiag.engine.messages import Paths
    from xdiag.model import Result, Target

    Run = Callable[..., dict[str, Result]]

_WORKS = "cross-thread/none/hal"
_TWO = "second-runtime/none/hal"
#: A cell that has nothing to do with XSched, to see that the others are run.
_REST = "cross-thread/none/replay"


def test_the_call_at_the_line_is_what_the_exit_is_about(run_with_hal: Run) -> None:
    results = run_with_hal(ids=[_WORKS, _TWO])
    assert results[_WORKS].outcome.kind is OutcomeKind.OK
    outcome = results[_TWO].outcome
    assert (outcome.kind, outcome.status, outcome.code) == (OutcomeKind.EXIT, 1, 709)
    assert outcome.call == "hipStreamGetFlags"
    assert outcome.name == "hipErrorContextIsDestroyed"
    assert outcome.message.endswith("hip_queue.cpp:32")
    assert describe(results[_TWO]).startswith("709 from hipStreamGetFlags, then exit(1)")
    assert label(results[_TWO]).text == "709+exit 1"


def test_the_hal_uses_the_runtime_of_the_step(run_with_hal: Run) -> None:
    results = run_with_hal(
        ids=[_TWO, "second-runtime/bind-loaded-runtime/hal", "second-namespace/none/hal"]
    )
    assert results[_TWO].outcome.code == 709
    assert results["second-runtime/bind-loaded-runtime/hal"].outcome.kind is OutcomeKind.OK
    assert results["second-namespace/none/hal"].outcome.code == 709
    namespaces = {
        name: identity.namespace
        for name, identity in results["second-namespace/none/hal"].outcome.libraries.items()
    }
    assert namespaces["hal"] != 0


def test_the_library_is_told_and_is_no_copy_of_the_runtime(run_with_hal: Run) -> None:
    outcome = run_with_hal(ids=[_WORKS])[_WORKS].outcome
    assert outcome.libraries["hal"].path.endswith("libhalhip.so")
    assert outcome.libraries["hal"].build_id
    assert set(outcome.runtimes) == {"A"}


def test_a_forked_child_opens_the_library_for_itself(run_with_hal: Run) -> None:
    id = "fork-before-init/none/hal"
    outcome = run_with_hal(ids=[id])[id].outcome
    assert outcome.kind is OutcomeKind.OK
    created = next(r for r in outcome.trace if r.call == "HipQueueCreate")
    assert created.pid != outcome.trace[0].pid


def test_the_line_of_older_builds_is_understood(run_with_hal: Run) -> None:
    outcome = run_with_hal("-DOLD_LINE", ids=[_TWO])[_TWO].outcome
    assert (outcome.code, outcome.call) == (709, "hipStreamGetFlags")


def test_a_line_without_a_number_is_told_as_it_is(run_with_hal: Run) -> None:
    outcome = run_with_hal("-DNO_NUMBER", ids=[_TWO])[_TWO].outcome
    assert outcome.kind is OutcomeKind.EXIT
    assert outcome.code is None and outcome.call == "HipQueueCreate"
    assert outcome.message == "fail 709 @ /src/xsched/utils/symbol.h:12"


def test_null_is_returned_not_exited(run_with_hal: Run) -> None:
    id = "null-stream/none/hal"
    outcome = run_with_hal(ids=[id])[id].outcome
    assert (outcome.kind, outcome.code) == (OutcomeKind.ERROR, 5)
    assert outcome.name == "kXSchedErrorNotSupported"


def test_meaning_names_xsched_and_what_was_returned_to_it(
    run_with_hal: Run, fake_target: Target
) -> None:
    text = " ".join(meaning(run_with_hal(ids=[_TWO])[_TWO], fake_target))
    assert "hipStreamGetFlags had returned 709" in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("option", "kind", "reason"),
    [
        ("-DOTHER_PLATFORM", OutcomeKind.UNSUPPORTED, "libhalhip.so has no HipQueueCreate"),
        ("-DNEEDS_MORE", OutcomeKind.SKIPPED, "beside it are of two versions of XSched"),
    ],
)
def test_a_library_that_does_not_fit_is_one_line_and_the_rest_runs(
    run_with_hal: Run, option: str, kind: OutcomeKind, reason: str
) -> None:
    results = run_with_hal(option, ids=[_WORKS, _REST])
    assert results[_WORKS].outcome.kind is kind
    assert reason in results[_WORKS].outcome.reason
    assert "\n" not in results[_WORKS].outcome.reason
    assert results[_REST].outcome.kind is OutcomeKind.OK


def test_a_library_without_queues_is_one_line(run_with_hal: Run) -> None:
    id = "cross-thread/none/xqueue"
    results = run_with_hal(ids=[id, _WORKS])
    assert results[id].outcome.kind is OutcomeKind.UNSUPPORTED
    assert results[id].outcome.reason.endswith("libhalhip.so has no XQueueCreate")
    assert results[_WORKS].outcome.kind is OutcomeKind.OK


def test_a_file_that_is_no_library_is_one_line(
    fake_target: Target, fake_paths: Paths, tmp_path: Path
) -> None:
    broken = tmp_path / "libhalhip.so"
    broken.write_text("not ELF")
    files = XSchedFiles(hal=str(broken), preempt=str(broken), missing="")
    results = run_cells(fake_target, fake_paths, files, _WORKS, _REST)
    assert results[_WORKS].outcome.kind is OutcomeKind.SKIPPED
    assert f"{broken} cannot be opened" in results[_WORKS].outcome.reason
    assert results[_REST].outcome.kind is OutcomeKind.OK


def test_without_xsched_its_cells_say_so(fake_target: Target, fake_paths: Paths) -> None:
    ids = [f"cross-thread/none/{each}" for each in ("hal", "xqueue", "binding", "old-binding")]
    results = run_cells(fake_target, fake_paths, None, *ids, _REST)
    for id in ids:
        assert results[id].outcome.kind is OutcomeKind.SKIPPED
        assert "XSched was not found: --xsched" in results[id].outcome.reason
    assert results[_REST].outcome.kind is OutcomeKind.OK


def test_a_binding_that_cuts_handles_says_nothing_of_a_hypothesis(run_with_hal: Run) -> None:
    seen = run_with_hal(ids=[_TWO, "same-thread/none/hal"])
    refused, works = seen[_TWO], seen["same-thread/none/hal"]
    cell = msgspec.structs.replace(refused.cell, consumer="old-binding", pattern="same-thread")
    cut = msgspec.structs.replace(refused, cell=cell)
    with_it = weigh([refused, works, cut], HYPOTHESES, PATTERNS)
    assert with_it == weigh([refused, works], HYPOTHESES, PATTERNS)
    assert any(verdict.evidence for verdict in with_it)


def test_a_story_that_was_given_up_has_not_hung(fake_target: Target, fake_paths: Paths) -> None:
    trace = run_cells(fake_target, fake_paths, None, _WORKS)[_WORKS].outcome.trace
    (given_up,) = [record for record in trace if record.state == "skipped"]
    assert given_up.call == "xsched"
    assert "XSched was not found" in given_up.error
    assert not any(record.failed or record.state == "unfinished" for record in trace)


def test_a_queue_that_is_made_shows_that_the_handle_was_known(
    run_with_hal: Run, fake_target: Target
) -> None:
    # Of a version whose hipStreamGetFlags looks.
    target = msgspec.structs.replace(fake_target, version="5.2.0")
    lines = meaning(run_with_hal(ids=[_WORKS])[_WORKS], target)
    assert lines[0] == "The use made 3 calls and none of them failed."
    assert "Here: yes (ok)." in lines[1]


def test_what_a_binding_has_cut_is_told(run_with_hal: Run, fake_target: Target) -> None:
    refused = run_with_hal(ids=[_TWO])[_TWO]
    (handle,) = {record.handle for record in refused.outcome.trace if record.state == "unfinished"}
    assert handle is not None
    # The fake's handles lie low: one that does not is put in its place.
    high = 0x7F0000000000 | handle
    trace = tuple(
        msgspec.structs.replace(record, handle=high) if record.handle == handle else record
        for record in refused.outcome.trace
    )
    cell = msgspec.structs.replace(refused.cell, consumer="old-binding")
    outcome = msgspec.structs.replace(refused.outcome, trace=trace)
    cut = msgspec.structs.replace(refused, cell=cell, outcome=outcome)
    told = f"of the handle {hex(high)} it passes the low 32 bits on, {hex(high & 0xFFFFFFFF)}"
    assert told in meaning(cut, fake_target)[0]
    assert "low 32 bits" not in meaning(refused, fake_target)[0]
