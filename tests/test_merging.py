"""One matrix over many runs: order and repetition are no matter, nothing seen is lost."""

from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import cell, reports, run_report

from xdiag import session
from xdiag.errors import Usage
from xdiag.merging import Merged, faulty, given_twice, merge, read, single
from xdiag.model import Result
from xdiag.render import merging as rendering
from xdiag.saved import Saved, manner, names, place_of, run_of

OLD = run_report([cell(kind="error", code=709), cell("cross-thread")], version="5.2.1")
NEW = run_report([cell(kind="ok"), cell("cross-thread")], version="6.10.0", system="Ubuntu")
HARD = run_report([cell(kind="error", code=709)], version="6.9.0", agent="hardware")


def over(*runs) -> Merged:
    return merge(map(single, runs))


# ---- rows ----


def test_rows_agree_or_tell_who_has_seen_what() -> None:
    merged = over(NEW, OLD, HARD)
    assert [run.target.version for run in merged.runs] == ["5.2.1", "6.9.0", "6.10.0"]
    same, cross = merged.rows
    assert not same.agrees and cross.agrees
    old, hard, new = (run_of(report).id for report in (OLD, HARD, NEW))
    assert [(each.result.outcome.kind.value, each.runs) for each in same.seen] == [
        ("error", (old, hard)), ("ok", (new,)),
    ]  # fmt: skip
    assert merged.lacking(cross) == (hard,)


def test_what_one_run_has_agrees_with_nothing() -> None:
    both, alone, other = cell("same-thread"), cell("cross-thread"), cell("creator-exited")
    merged = over(
        run_report([both, alone, other], version="5.2.1"),
        run_report([both], version="6.4.0", planned=3),
    )
    assert [row.pattern for row in merged.agreeing] == ["same-thread"]
    assert [row.pattern for row in merged.alone] == ["cross-thread", "creator-exited"]
    told = "2 runs, 3 cells: 1 agree, 0 differ, 2 in one run only"
    assert rendering.summary(merged) == told
    for form in ("table", "markdown", "html"):
        assert told in rendering.render(merged, form, 120)
    # What one run has is shown and explained all the same.
    ((_, cells),) = rendering.partial(merged)
    assert len(cells) == 2
    three = over(OLD, NEW, HARD)
    assert rendering.summary(three) == "3 runs, 2 cells: 1 agree, 1 differ"


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
@pytest.mark.parametrize("beside", [True, False])
def test_the_reasons_for_which_cells_were_not_run(form: str, beside: bool) -> None:
    def skipped(pattern: str, reason: str) -> Result:
        return cell(pattern, kind="skipped", reason=reason)

    merged = over(
        run_report([skipped("same-thread", "no x"), skipped("cross-thread", "no y")],
                   version="5.2.1"),
        run_report([skipped("same-thread", "no x"), cell("cross-thread")], version="6.4.0"),
        run_report([cell("same-thread"), cell("cross-thread")], version="7.2.0"),
    )  # fmt: skip
    told = [(why, len(cells)) for why, cells in rendering.not_run(merged)]
    assert told == [("5.2.1, 6.4.0: no x", 1), ("5.2.1: no y", 1)]
    text = rendering.render(merged, form, 120, beside=beside)
    assert "5.2.1, 6.4.0: no x" in text and "5.2.1: no y" in text
    one = over(run_report([skipped("same-thread", "no x")]))
    assert [why for why, _ in rendering.not_run(one)] == ["no x"]


def test_a_run_that_is_given_twice_counts_once() -> None:
    parts = [single(OLD), single(NEW), over(OLD, HARD)]
    assert len(merge(parts).runs) == 3
    assert [run.target.version for run in given_twice(parts)] == ["5.2.1"]
    assert given_twice([single(OLD), single(NEW)]) == ()


def test_other_steps_are_said_to_be_other_steps() -> None:
    preloaded = run_report([cell(variables={"LD_PRELOAD": "{first}"})], version="7.0")
    merged = over(run_report([cell()]), preloaded)
    assert merged.rows[0].asked_differently
    # It stays so when it is merged again, with the run that has been asked the same.
    assert merge([merged, single(NEW)]).rows[0].asked_differently
    assert not over(run_report([cell()]), NEW).rows[0].asked_differently
    assert "not the same experiment" in rendering.render(merged, "table", 120)


@pytest.mark.parametrize(
    ("kind", "pattern", "fix", "fault"),
    [
        ("error", "same-thread", "none", True),
        ("hang", "same-thread", "none", True),
        ("error", "same-thread", "unify", False),
        ("error", "destroyed-stream", "none", False),
        ("skipped", "same-thread", "none", False),
        ("ok", "same-thread", "none", False),
    ],
)
def test_a_fault_is_one_of_a_sound_story(kind: str, pattern: str, fix: str, fault: bool) -> None:
    assert faulty(over(run_report([cell(pattern, fix, kind=kind)]), NEW)) is fault


# ---- names ----


def test_names_are_short_and_say_what_tells_the_runs_apart() -> None:
    named = names(over(OLD, NEW, HARD).runs)
    assert sorted(named.values()) == [
        "HIP 5.2.1, software agent", "HIP 6.10.0, software agent", "HIP 6.9.0, hardware",
    ]  # fmt: skip
    twin = run_report(OLD.results, version="5.2.1", system="Fedora 41", verdicts=())
    assert sorted(names(over(OLD, twin).runs).values()) == [
        "HIP 5.2.1, software agent, Debian 12", "HIP 5.2.1, software agent, Fedora 41",
    ]  # fmt: skip
    later = run_report(OLD.results, version="5.2.1", started="2027")
    assert sorted(names(over(OLD, later).runs).values()) == [
        "HIP 5.2.1, software agent, 2026-01-01T00:00:00+00:00", "HIP 5.2.1, software agent, 2027",
    ]  # fmt: skip


def test_runs_that_a_file_makes_look_alike_have_names_of_their_own() -> None:
    run = run_of(OLD)
    alike = [msgspec.structs.replace(run, id=run.id + end) for end in ("", "x", "y")]
    named = list(names(alike).values())
    assert [name.removeprefix(named[0]) for name in named] == ["", " (2)", " (3)"]


# ---- whatever the runs ----


@settings(max_examples=30, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_order_and_repetition_are_no_matter(runs, random) -> None:
    merged = over(*runs)
    shuffled = [*runs, random.choice(runs)]
    random.shuffle(shuffled)
    assert over(*shuffled) == merged
    assert merge([merged, merged]) == merged
    place = random.randrange(len(runs) + 1)
    assert merge([over(*runs[place:]), over(*runs[:place])]) == merged


@settings(max_examples=30, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=4))
def test_nothing_that_a_run_has_seen_is_lost(runs) -> None:
    merged = over(*runs)
    kept = {
        (id, (row.pattern, row.fix, row.consumer)): manner(each.result)
        for row in merged.rows
        for each in row.seen
        for id in each.runs
    }
    assert kept == {
        (run_of(run).id, tuple(place_of(result))): manner(result)
        for run in runs
        for result in run.results
    }
    assert faulty(merged) == any(map(session.faulty, runs))


@settings(max_examples=30, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=4))
def test_a_merged_matrix_is_read_back_and_names_are_unique(runs) -> None:
    merged = over(*runs)
    written = rendering.render(merged, "json").encode()
    back = read(Saved("m.json", written, merged=True))
    assert back == merged and merge([back]) == merged
    named = names(merged.runs)
    assert len(set(named.values())) == len(named) == len(merged.runs)
    assert all(named.values())


@settings(max_examples=20, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=3))
def test_any_merged_matrix_is_shown_without_control_characters(runs) -> None:
    merged = over(*runs)
    for form in ("table", "markdown", "html"):
        shown = rendering.render(merged, form, 80)
        assert shown.replace("\n", "").isprintable()
    rows = list(csv.DictReader(io.StringIO(rendering.render(merged, "csv"))))
    assert len(rows) == sum(len(run.results) for run in {run_of(r).id: r for r in runs}.values())


# ---- files that are damaged ----


def _damaged(change) -> bytes:
    data = json.loads(rendering.render(over(OLD, NEW), "json"))
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["rows"].append(d["rows"][0]), "a run twice"),
        (lambda d: d["rows"][0]["seen"].append(d["rows"][0]["seen"][0]), "a run twice"),
        (lambda d: d["rows"][0]["seen"][0]["runs"].append("dead"), "no such run"),
        (lambda d: d["rows"][0]["seen"][0]["runs"].clear(), "no such run"),
        (lambda d: d["rows"][0]["seen"].clear(), "no such run"),
        (lambda d: d["rows"][0].update(fix="unify"), "another cell's result"),
        (lambda d: d["rows"][0].update(seen=7), "Expected `array`"),
        (lambda d: d.pop("runs"), "missing required field `runs`"),
    ],
)
def test_a_damaged_merged_matrix_is_refused_in_one_line(change, says: str) -> None:
    with pytest.raises(Usage, match=says) as caught:
        read(Saved("m.json", _damaged(change), merged=True))
    assert "\n" not in str(caught.value) and "m.json" in str(caught.value)


def test_files_that_say_different_things_of_one_run_are_merged_alike_in_any_order() -> None:
    honest = single(OLD)
    lying = msgspec.structs.replace(
        single(run_report([cell(kind="hang")], version="5.2.1")), runs=honest.runs
    )
    row = lying.rows[0]
    seen = msgspec.structs.replace(row.seen[0], runs=(honest.runs[0].id,))
    lying = msgspec.structs.replace(lying, rows=(msgspec.structs.replace(row, seen=(seen,)),))
    assert merge([honest, lying]) == merge([lying, honest])
    other = msgspec.structs.replace(honest.runs[0], command="another command")
    lying = msgspec.structs.replace(honest, runs=(other,))
    assert merge([honest, lying]) == merge([lying, honest])
