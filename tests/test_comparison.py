"""What changed between two runs: judged by how seriously cells end, mirrored, and never silent."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from runs import cell, reports, run_report

from xdiag.comparison import Comparison, compare
from xdiag.model import Identity, OutcomeKind, Support, Target, Verdict
from xdiag.render import comparison as rendering

#: Outcomes from harmless to serious; within a line none is worse than another.
RANKS = (["ok"], ["error"], ["crash", "exit", "hang"])
ABSENT = ("skipped", "unsupported", "n/a")
GROUPS = {kind: rank for rank, kinds in enumerate(RANKS) for kind in kinds}


def changed(before: str, after: str, **fields) -> Comparison:
    """A comparison of two runs of one cell, by the kinds of its outcomes."""
    return compare(
        run_report([cell(kind=before)], **fields), run_report([cell(kind=after)], **fields)
    )


# ---- cells ----


@pytest.mark.parametrize("before", [kind.value for kind in OutcomeKind])
@pytest.mark.parametrize("after", [kind.value for kind in OutcomeKind])
def test_a_cell_is_judged_by_how_seriously_it_ends(before: str, after: str) -> None:
    made = changed(before, after)
    if before == after:
        assert made.identical and made.alike == 1
        return
    (change,) = made.changes
    if before in ABSENT or after in ABSENT or GROUPS[before] == GROUPS[after]:
        assert change.how == "otherwise"
    else:
        assert change.how == ("worse" if GROUPS[after] > GROUPS[before] else "better")


def test_another_code_is_told_and_not_judged() -> None:
    before, after = cell(kind="error", code=709), cell(kind="error", code=400)
    made = compare(run_report([before]), run_report([after]))
    assert len(made.otherwise) == 1 and not made.worse and not made.better
    assert "709 -> 400" in rendering.render(made, "table", 120)


def test_a_call_that_answers_differently_in_a_cell_that_ends_alike_is_told() -> None:
    before = cell(kind="error", code=709, later=709)
    after = cell(kind="error", code=709, later=0)
    made = compare(run_report([before]), run_report([after]))
    (change,) = made.otherwise
    (answer,) = change.answers
    assert (answer.call, answer.before.split()[0], answer.after.split()[0]) == (
        "hipStreamQuery", "709", "0",
    )  # fmt: skip
    # What differs from one run to the next by itself is no change.
    again = msgspec.json.decode(msgspec.json.encode(before), type=type(before))
    again = msgspec.structs.replace(
        again,
        outcome=msgspec.structs.replace(
            again.outcome, seconds=9.0, message="other words",
            trace=tuple(
                msgspec.structs.replace(r, tid=r.tid + 7, pid=3, nanoseconds=5, handle=0x7FFF1234)
                for r in again.outcome.trace
            ),
        ),
    )  # fmt: skip
    assert compare(run_report([before]), run_report([again])).identical


def test_how_many_copies_were_loaded_is_told() -> None:
    one = {"A": Identity("/a", device=1, inode=1), "B": Identity("/a", device=1, inode=1)}
    two = {"A": Identity("/a", device=1, inode=1), "B": Identity("/b", device=1, inode=2)}
    before, after = cell(kind="ok", runtimes=two), cell(kind="ok", runtimes=one)
    made = compare(run_report([before]), run_report([after]))
    assert made.otherwise[0].copies == ("A, B", "A=B")


def test_regressions_of_sound_stories_come_first() -> None:
    misuse, sound = "destroyed-stream", "reopened-runtime"
    before = run_report([cell(p, kind="ok") for p in (misuse, sound)])
    after = run_report([cell(p, kind="error", code=709) for p in (misuse, sound)])
    assert [(c.pattern, c.sound) for c in compare(before, after).worse] == [
        (sound, True), (misuse, False),
    ]  # fmt: skip


def test_cells_that_only_one_has_are_named_in_the_catalogues_order() -> None:
    both = cell("same-thread", kind="ok")
    made = compare(
        run_report([both]),
        run_report([cell("unheard-of", kind="ok"), cell("reopened-runtime", kind="ok"), both]),
    )
    assert made.only_before == ()
    assert made.only_after == ("reopened-runtime/none/driver", "unheard-of/none/driver")
    assert made.alike == 1 and not made.identical


def test_cells_with_other_steps_are_not_compared_silently() -> None:
    before, after = cell(kind="ok"), cell(kind="ok", variables={"LD_PRELOAD": "{first}"})
    made = compare(run_report([before]), run_report([after]))
    assert made.asked_differently == 1 and not made.identical and made.alike == 1
    assert "not the same experiment" in made.cautions[0]


# ---- what they ran on, verdicts ----


def test_differences_are_facts_of_both_and_time_is_none() -> None:
    before = run_report([cell()], started="2026-01-01", seconds=3)
    after = run_report([cell()], started="2026-02-02", seconds=4, version="6.4.1", kernel="6.12")
    made = compare(before, after)
    assert {d.what: (d.before, d.after) for d in made.differences} == {
        "version": ("6.3.0", "6.4.1"), "kernel": ("6.1.0", "6.12"),
    }  # fmt: skip


@pytest.mark.parametrize("fact", ["version", "soname", "build_id", "agent", "runtime"])
def test_no_fact_of_the_runtime_differs_silently(fact: str) -> None:
    other = {"agent": "hardware"}.get(fact, "9")
    made = compare(run_report([cell()]), run_report([cell()], **{fact: other}))
    assert other in [d.after for d in made.differences] and not made.identical
    assert other in rendering.render(made, "table", 200)


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_software_agent_is_never_compared_silently_with_hardware(form: str) -> None:
    made = compare(run_report([cell()], agent="software"), run_report([cell()], agent="hardware"))
    text = " ".join(rendering.render(made, form, 200).split())
    caution = text.index("does not speak for hardware")
    assert caution < text.index("6.3.0")
    assert any("software agent" in caution for caution in made.cautions)
    assert compare(run_report([cell()]), run_report([cell()])).cautions == ()


def test_hip_7_and_interruption_are_cautioned_of() -> None:
    made = compare(
        run_report([cell(kind="error", code=709)]),
        run_report([cell(kind="ok")], version="7.0.2", planned=9),
    )
    assert "HIP 7 (after) checks the handle in few calls" in made.cautions[0]
    assert made.cautions[1] == "after was interrupted: 1 of 9 cells."
    assert made.better and not made.worse


def test_verdicts_that_changed() -> None:
    def weighed(**marks: str):
        verdicts = [Verdict(id, "said", Support(mark), "why") for id, mark in marks.items()]
        return run_report([cell()], verdicts=tuple(verdicts))

    made = compare(weighed(a="open", b="refuted"), weighed(b="refuted", a="supported", c="open"))
    assert [(v.hypothesis, v.before, v.after) for v in made.verdicts] == [
        ("a", "open", "supported"), ("c", "", "open"),
    ]  # fmt: skip
    assert "open -> supported" in rendering.render(made, "table", 100)


def test_the_same_run_is_told_in_one_line() -> None:
    report = run_report([cell(kind="error", code=709)])
    lines = rendering.render(compare(report, report), "table", 200).splitlines()
    assert lines == ["both are one and the same run (1 cell)"]
    later = run_report([cell(kind="error", code=709)], started="2027-01-01")
    (line,) = rendering.render(compare(report, later), "table", 200).splitlines()
    assert line.startswith("nothing differs: 1 cell with the same outcome") and "software" in line


# ---- whatever the runs ----


@settings(max_examples=50, deadline=None)
@given(reports())
def test_a_run_compared_with_itself_is_empty(report) -> None:
    made = compare(report, report)
    assert made.identical and made.alike == len(report.results)
    assert (made.changes, made.differences, made.verdicts) == ((), (), ())


_OPPOSITE = {"worse": "better", "better": "worse", "otherwise": "otherwise"}


@settings(max_examples=50, deadline=None)
@given(reports(), reports())
def test_the_other_way_round_is_the_mirror_image(one, other) -> None:
    made, mirrored = compare(one, other), compare(other, one)
    assert (made.only_before, made.only_after) == (mirrored.only_after, mirrored.only_before)
    assert made.alike == mirrored.alike and made.identical == mirrored.identical
    assert [(d.what, d.before, d.after) for d in made.differences] == [
        (d.what, d.after, d.before) for d in mirrored.differences
    ]
    assert [(v.hypothesis, v.before, v.after) for v in made.verdicts] == [
        (v.hypothesis, v.after, v.before) for v in mirrored.verdicts
    ]
    assert [(c.pattern, c.fix, c.consumer, c.before, c.after, c.how) for c in made.changes] == [
        (c.pattern, c.fix, c.consumer, c.after, c.before, _OPPOSITE[c.how])
        for c in mirrored.changes
    ]
    assert [len(c.answers) for c in made.changes] == [len(c.answers) for c in mirrored.changes]
    assert len(made.cautions) == len(mirrored.cautions)
    both = {r.cell.id for r in one.results} & {r.cell.id for r in other.results}
    assert made.alike + len(made.changes) == len(both)


@settings(max_examples=30, deadline=None)
@given(reports(), reports())
def test_a_comparison_survives_json_and_is_shown_without_control_characters(one, other) -> None:
    made = compare(one, other)
    assert msgspec.json.decode(rendering.render(made, "json"), type=Comparison) == made
    shown = rendering.render(made, "table", 80)
    assert shown.replace("\n", "").isprintable()
    assert rendering.render(made, "markdown").replace("\n", "").isprintable()
    # No cell is lost on the way to the reader.
    squeezed = "".join(shown.split())
    for change in made.changes:
        assert rendering.printable(change.pattern).replace(" ", "") in squeezed


def test_markdown_fits_a_comment_however_much_changed() -> None:
    long = "x" * 5000
    before = run_report([cell(f"p{n}", kind="ok") for n in range(900)], runtime=long)
    after = run_report([cell(f"p{n}", kind="error", code=1, name=long) for n in range(900)])
    text = rendering.render(compare(before, after), "markdown")
    assert len(text) < 65_536 and "and 840 more" in text


def test_facts_cover_the_whole_target() -> None:
    from xdiag.comparison import _FACTS

    named = {where.partition(".")[2] for _, where in _FACTS if where.startswith("target.")}
    assert named == set(Target.__struct_fields__)
