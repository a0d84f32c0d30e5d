"""The catalogues are consistent: every name that an entry uses exists."""

from __future__ import annotations

import re

import pytest
from support import cells_for

from xdiag import native, platforms
from xdiag.api.questions import QUESTIONS
from xdiag.consumers import CONSUMERS
from xdiag.engine.environment import PLACEHOLDERS
from xdiag.fixes import FIXES
from xdiag.hypotheses import HYPOTHESES
from xdiag.model import ACTIONS, Cell, Pattern, Step, parse_step
from xdiag.patterns import PATTERNS
from xdiag.torch_consumer import TORCH_ACTIONS

#: The patterns, fixes and hypotheses that users were promised.
PROMISED_PATTERNS = """same-thread cross-thread create-in-worker creator-exited concurrent-use
    destroyed-stream device-reset null-stream per-thread-stream legacy-stream other-device-current
    context-popped foreign-context second-runtime second-runtime-deepbind second-runtime-global
    second-namespace second-runtime-by-name library-loaded-first library-first-by-soname
    reopened-runtime reopened-by-soname truncated-handle garbage-handle fork-before-init
    fork-after-init event-destroyed-twice""".split()
PROMISED_FIXES = """none primary-context-retain set-current-context set-device create-in-worker
    native-thread lazy-context recreate-stream full-width-handle bind-loaded-runtime
    unify preload path-order""".split()


def test_nothing_promised_is_missing() -> None:
    assert set(PROMISED_PATTERNS) <= {pattern.id for pattern in PATTERNS}
    assert set(PROMISED_FIXES) <= {fix.id for fix in FIXES}
    assert len(HYPOTHESES) == 9


@pytest.mark.parametrize(
    "entries", [PATTERNS, FIXES, CONSUMERS, HYPOTHESES], ids=["patterns", "fixes", "consumers", "h"]
)
def test_ids_are_unique_and_speakable(entries: tuple[Pattern, ...]) -> None:
    ids = [entry.id for entry in entries]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id) for id in ids)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.id)
def test_a_pattern_asks_a_question_and_predicts_for_known_hypotheses(pattern: Pattern) -> None:
    assert pattern.question.endswith("?")
    assert set(pattern.predicts) <= {hypothesis.id for hypothesis in HYPOTHESES}


def test_every_hypothesis_can_be_refuted_and_is_repaired_by_known_fixes() -> None:
    for hypothesis in HYPOTHESES:
        predictions = {p.predicts.get(hypothesis.id) for p in PATTERNS}
        assert {"works", "fails"} <= predictions, hypothesis.id
        assert set(hypothesis.repaired_by) <= {fix.id for fix in FIXES}


@pytest.mark.parametrize("cell", cells_for(torch=True), ids=lambda cell: cell.id)
def test_a_cell_uses_only_what_it_has_defined(cell: Cell) -> None:
    calls = native.calls()
    values = set(platforms.get("hip").constants)
    runtimes: set[str] = set()
    actors = {"main"}
    for step in cell.steps:
        assert set(step.actors) <= actors, step
        if step.runtime:
            assert step.runtime in runtimes, step
            assert len(calls[step.verb].inputs()) == len(step.args), step
            assert calls[step.verb].symbols("hip"), step
        else:
            assert step.verb in {**ACTIONS, **TORCH_ACTIONS} and step.verb != "use", step
        if step.verb not in ("open", "process"):
            assert {a for a in step.args if isinstance(a, str)} <= values, step
        _define(step, values, runtimes, actors)


@pytest.mark.parametrize("cell", [cell for cell in cells_for(torch=True) if cell.environment],
                         ids=lambda cell: cell.id)  # fmt: skip
def test_what_a_cell_is_started_with_can_be_filled_in(cell: Cell) -> None:
    for value in cell.environment.values():
        assert set(re.findall(r"\{(.*?)\}", value)) <= set(PLACEHOLDERS)
        # A path of the machine that the catalogue was written on is no data.
        assert "/" not in value


#: Of what torch's stories have besides: what starts an actor.
_TORCHS_ACTORS = ("thread_pool", "process", "torch_autograd", "torch_dataloader")


def _define(step: Step, values: set[str], runtimes: set[str], actors: set[str]) -> None:
    if step.verb == "open":
        assert step.args[0] in ("first", "copy", "link", "loaded", "soname", "name")
        assert len(step.args) == 1 or step.args[1] in native.WAYS
        runtimes.add(step.result)
    elif step.verb == "torch":
        runtimes.add(step.result)
    elif step.verb in ("thread", "native_thread", "fork", *_TORCHS_ACTORS):
        actors.add(step.result)
    elif step.verb == "end":
        actors.difference_update(step.actors)
    elif step.result:
        if step.runtime:
            assert native.calls()[step.verb].outputs(), step
        values.add(step.result)


#: They need a kernel, a graph, or memory of a kind that a story does not make; `xdiag api` asks
#: them, and the recorder sees them when programs call them.
NEED_MORE = {question.call for question in QUESTIONS if question.group in ("memory", "launch")} | {
    "StreamBeginCaptureToGraph", "StreamUpdateCaptureDependencies", "EventRecordWithFlags",
    "ExtStreamGetCUMask", "StreamGetAttribute", "StreamSetAttribute", "StreamCopyAttributes",
    "LaunchHostFunc", "StreamAddCallback_spt",
}  # fmt: skip


def test_the_driver_consumer_asks_every_call_that_takes_a_stream() -> None:
    driver = next(consumer for consumer in CONSUMERS if consumer.id == "driver")
    steps = driver.expand(parse_step("main: use(A, s)"))
    assert isinstance(steps, tuple)
    takes_one = {
        name for name, call in native.calls().items() if call.hip and call.stream_input is not None
    }
    assert takes_one - NEED_MORE <= {step.verb for step in steps}
