"""Rewrites, one by one, on stories written for it."""

from __future__ import annotations

import pytest

from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan, story_of
from xdiag.fixes import FIXES
from xdiag.model import NotApplicable, Story, parse_step
from xdiag.patterns import PATTERNS

_FIX = {fix.id: fix for fix in FIXES}
_PATTERN = {pattern.id: pattern for pattern in PATTERNS}


def _rewritten(fix: str, pattern: str) -> list[str]:
    story = _FIX[fix].rewrite(story_of(_PATTERN[pattern]))
    assert isinstance(story, Story), story
    return [str(step) for step in (*story.setup, *story.use)]


def _variables(fix: str, pattern: str) -> dict[str, str]:
    story = _FIX[fix].rewrite(story_of(_PATTERN[pattern]))
    assert isinstance(story, Story), story
    return story.environment


def _refused(fix: str, pattern: str) -> str:
    story = _FIX[fix].rewrite(story_of(_PATTERN[pattern]))
    assert isinstance(story, NotApplicable)
    return story.reason


def test_none_changes_nothing() -> None:
    for pattern in PATTERNS:
        assert _rewritten("none", pattern.id) == [*pattern.setup, *pattern.use]


def test_the_context_is_retained_by_the_user_on_its_runtime() -> None:
    assert _rewritten("primary-context-retain", "second-runtime")[-3:] == [
        "worker: primary = B.DevicePrimaryCtxRetain(0)",
        "worker: B.CtxSetCurrent(primary)",
        "worker: use(B, s)",
    ]


def test_the_creators_context_is_taken_where_the_stream_was_made() -> None:
    steps = _rewritten("set-current-context", "second-runtime")
    made = steps.index("main: s = A.StreamCreateWithFlags(0)")
    assert steps[made + 1] == "main: creators = A.CtxGetCurrent()"
    assert steps[-2] == "worker: B.CtxSetCurrent(creators)"


def test_creating_in_the_worker_starts_the_worker_first() -> None:
    assert _rewritten("create-in-worker", "cross-thread") == [
        "main: A = open(first, local)",
        "main: A.Init(0)",
        "main: worker = thread()",
        "worker: s = A.StreamCreateWithFlags(0)",
        "worker: use(A, s)",
    ]


def test_creating_in_the_worker_keeps_the_runtime_that_made_it() -> None:
    assert "worker: s = A.StreamCreateWithFlags(0)" in _rewritten(
        "create-in-worker", "second-runtime"
    )


def test_a_recreated_stream_is_cut_again_by_the_same_binding() -> None:
    assert _rewritten("recreate-stream", "truncated-handle")[-3:] == [
        "worker: s = A.StreamCreateWithFlags(0)",
        "worker: t = low32_signed(s)",
        "worker: use(A, t)",
    ]


def test_the_loaded_runtime_is_bound() -> None:
    assert "main: B = open(loaded)" in _rewritten("bind-loaded-runtime", "second-namespace")


def test_where_nothing_is_loaded_yet_the_path_of_the_other_copy_is_bound() -> None:
    for pattern in ("library-loaded-first", "library-first-by-soname"):
        assert _rewritten("bind-loaded-runtime", pattern)[0] == "main: B = open(first, local)"


def test_fixes_of_the_environment_leave_the_steps_alone() -> None:
    for fix in ("unify", "preload", "path-order"):
        for pattern in ("second-runtime", "foreign-context", "library-first-by-soname"):
            assert _rewritten(fix, pattern) == [*_PATTERN[pattern].setup, *_PATTERN[pattern].use]


def test_a_fix_puts_its_variables_before_the_patterns() -> None:
    assert _variables("none", "second-runtime-by-name") == {"LD_LIBRARY_PATH": "{copy_directory}"}
    assert _variables("path-order", "second-runtime-by-name") == {
        "LD_LIBRARY_PATH": "{first_directory}:{copy_directory}"
    }
    assert _variables("path-order", "second-runtime") == {"LD_LIBRARY_PATH": "{first_directory}"}
    assert _variables("preload", "second-runtime-by-name") == {
        "LD_LIBRARY_PATH": "{copy_directory}", "LD_PRELOAD": "{first}",
    }  # fmt: skip
    assert _variables("unify", "second-namespace") == {
        "LD_AUDIT": "{audit}", "XDIAG_UNIFY": "libamdhip64",
    }  # fmt: skip


def test_a_cell_asks_for_what_its_story_does() -> None:
    cells = plan([_PATTERN["second-runtime-by-name"]], FIXES, CONSUMERS)
    for cell in cells:
        if not cell.not_applicable:
            assert cell.environment == _variables(cell.fix, cell.pattern)


def test_native_threads_replace_python_threads() -> None:
    assert "main: worker = native_thread()" in _rewritten("native-thread", "cross-thread")


@pytest.mark.parametrize(
    ("fix", "pattern", "why"),
    [
        ("create-in-worker", "same-thread", "already makes it itself"),
        ("create-in-worker", "null-stream", "NULL is not made by anyone"),
        ("create-in-worker", "garbage-handle", "does not come from a stream"),
        ("native-thread", "same-thread", "no Python thread"),
        ("full-width-handle", "cross-thread", "full width"),
        ("bind-loaded-runtime", "cross-thread", "only one runtime"),
        ("bind-loaded-runtime", "reopened-runtime", "already gives the loaded copy"),
        ("unify", "cross-thread", "only one runtime"),
        ("unify", "reopened-by-soname", "already gives the loaded copy"),
        ("preload", "reopened-runtime", "already gives the loaded copy"),
        ("path-order", "fork-after-init", "only one runtime"),
        ("recreate-stream", "concurrent-use", "each would make its own"),
        ("set-device", "event-destroyed-twice", "no stream is used"),
    ],
)
def test_a_fix_that_cannot_apply_says_why(fix: str, pattern: str, why: str) -> None:
    assert why in _refused(fix, pattern)


def test_what_a_fix_puts_in_is_marked_as_the_fixs() -> None:
    for fix in FIXES[1:]:
        for pattern in PATTERNS:
            before = story_of(pattern)
            after = fix.rewrite(before)
            if isinstance(after, NotApplicable):
                continue
            fresh = {str(s) for s in after.setup + after.use} - {
                str(s) for s in before.setup + before.use
            }
            for step in after.setup + after.use:
                if str(step) in fresh and step.verb != "use":
                    assert step.phase == "fix", (fix.id, pattern.id, str(step))


def test_lazy_context_moves_the_context_to_the_queues_thread() -> None:
    cell = next(
        cell
        for cell in plan([_PATTERN["cross-thread"]], [_FIX["lazy-context"]], CONSUMERS)
        if cell.consumer == "replay"
    )
    lines = [str(step) for step in cell.steps]
    assert "worker: context = A.CtxGetCurrent()" not in lines
    assert "queue: context = A.CtxGetCurrent()" in lines


def test_every_actor_of_a_native_plan_is_native() -> None:
    for cell in plan(PATTERNS, FIXES, CONSUMERS, actor="native"):
        assert all(step.verb != "thread" for step in cell.steps)
        if cell.fix == "native-thread":
            assert cell.not_applicable


def test_parse_step_is_what_the_catalogue_is_written_in() -> None:
    for pattern in PATTERNS:
        for line in (*pattern.setup, *pattern.use):
            assert str(parse_step(line)) == line
