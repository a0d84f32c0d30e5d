"""Repairs on a terminal: what is to be copied stays whole, what is too long goes on further in."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from report.scenes import trials as some_trials

from xdiag.model import Outcome, OutcomeKind
from xdiag.render import repairs
from xdiag.render.terminal import printed
from xdiag.repair.repair import Change

LONG = "/opt/venv/lib/python3.11/site-packages/torch/lib/libamdhip64.so.6"


def shown(trials, width=80) -> list[str]:
    return printed(lambda console: repairs.show(trials, console), width).splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_line_to_be_copied_is_not_broken(make, width):
    change = Change({"XSCHED_HIP_LIB": LONG}, {"LD_PRELOAD": LONG})
    lines = shown(replace(some_trials(make), change=change), width)
    assert f"  export XSCHED_HIP_LIB={LONG}" in lines
    assert f"  export LD_PRELOAD={LONG}${{LD_PRELOAD:+:$LD_PRELOAD}}" in lines


def test_what_is_said_of_a_repair_goes_on_further_in(make):
    trials = some_trials(make, "one thing after the other, " * 6)
    lines = shown(trials)
    place = next(number for number, line in enumerate(lines) if line.startswith("  risks: "))
    assert lines[place + 1].startswith("    ") and lines[place + 1].strip()


def test_what_it_was_tried_on_is_said(make):
    trials = replace(some_trials(make), tried_on="the copies that the program will load")
    lines = shown(trials, 200)
    assert "tried on: the copies that the program will load" in lines
    assert any(line.startswith("first runtime: ") for line in lines)
    (trial,) = trials.trials
    cut = replace(trials, trials=(replace(trial, cause="truncated-handle"),))
    assert any(line.startswith("runtime: ") for line in shown(cut, 200))
    assert not any(line.startswith("second runtime: ") for line in shown(cut, 200))


def test_a_story_that_was_not_run_is_not_said_to_work(make):
    trials = some_trials(make)
    (trial,) = trials.trials
    (pair,) = trial.pairs
    skipped = replace(pair.before, outcome=Outcome(OutcomeKind.SKIPPED, reason="no torch here"))
    left_out = replace(pair, pattern="with-torch", before=skipped, after=skipped)
    lines = shown(replace(trials, trials=(replace(trial, pairs=(pair, left_out)),)))
    assert "  not run here: with-torch (no torch here)" in lines
    assert [line.split() for line in lines if "with-torch" in line] == [
        ["not", "run", "here:", "with-torch", "(no", "torch", "here)"]
    ]
    assert "  repaired 1 of the 1 that fail without it" in lines
    lines = shown(replace(trials, trials=(replace(trial, pairs=(left_out,)),)))
    assert "  no story that was run is one for it" in lines
    assert "  not run here: with-torch (no torch here)" in lines
