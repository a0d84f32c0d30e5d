"""The circumstances of a question: what they change, and that an entry has every answer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from api.made import entry
from xdiag.api.circumstances import after, before, circumstances, environment
from xdiag.api.handles import HANDLES, Handle
from xdiag.api.measure import steps_of, together
from xdiag.api.measured_data import Entry
from xdiag.api.questions import QUESTIONS
from xdiag.model import Target

SOFTWARE = Target(
    platform="hip", runtime="/lib/libamdhip64.so.5", agent="software", devices=2,
    environment={"XDIAG_AGENT_DEVICES": "2", "GLIBC_TUNABLES": "glibc.rtld.execstack=2"},
)  # fmt: skip
HARDWARE = replace(SOFTWARE, agent="hardware", devices=1, environment={})


def test_the_software_agent_shows_one_device_and_two_in_every_state_of_the_memory() -> None:
    found = circumstances(SOFTWARE)
    assert len({each.id for each in found}) == len(found)
    states = {(each.past, each.later, each.fill) for each in found}
    assert len(states) >= 5
    assert {(each.devices, *state) for state in states for each in found} == {
        (devices, *state) for state in states for devices in (1, 2)
    }
    assert len(found) == 2 * len(states)


def test_on_hardware_the_gpus_are_what_they_are() -> None:
    found = circumstances(HARDWARE)
    assert {each.devices for each in found} == {0}
    assert 2 * len(found) == len(circumstances(SOFTWARE))
    assert all("XDIAG_AGENT_DEVICES" not in environment(each, HARDWARE) for each in found)
    assert all("device" not in each.title for each in found)


def test_what_the_runtime_needs_of_glibc_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = next(each for each in circumstances(SOFTWARE) if each.fill)
    tunables = environment(filled, SOFTWARE)["GLIBC_TUNABLES"]
    assert tunables == f"glibc.rtld.execstack=2:glibc.malloc.perturb={filled.fill}"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    tunables = environment(filled, HARDWARE)["GLIBC_TUNABLES"]
    assert tunables == f"glibc.malloc.check=1:glibc.malloc.perturb={filled.fill}"
    monkeypatch.delenv("GLIBC_TUNABLES")
    tunables = environment(filled, HARDWARE)["GLIBC_TUNABLES"]
    assert tunables == f"glibc.malloc.perturb={filled.fill}"
    plain = next(each for each in circumstances(SOFTWARE) if not each.fill)
    assert "GLIBC_TUNABLES" not in environment(plain, SOFTWARE)


@pytest.mark.parametrize("handle", HANDLES, ids=lambda handle: handle.id)
def test_what_was_before_and_after_is_told_of_the_runtime_that_is_asked(handle: Handle) -> None:
    way = next(each for each in QUESTIONS if each.call == "StreamQuery").ways[0]
    plain = steps_of(handle, way)
    for circumstance in circumstances(SOFTWARE):
        steps = steps_of(handle, way, before(circumstance), after(circumstance))
        more = [step for step in steps if step not in plain]
        made = 4 * circumstance.past + 6 * circumstance.later
        assert len(more) == made == len(steps) - len(plain)
        assert {step.runtime for step in more} <= {handle.asked}
        verbs = [step.verb for step in more]
        for noun in ("Stream", "Event"):
            gone = verbs.count(f"{noun}Destroy")
            assert gone == circumstance.past <= verbs.count(f"{noun}CreateWithFlags")
        # The handle is what it is to be before anything is made after it.
        if circumstance.later:
            assert steps.index(more[0]) > max(
                n for n, step in enumerate(steps) if step.result == "h"
            )


def test_an_entry_has_every_answer_and_where_they_came_if_they_differ() -> None:
    same = together([("fresh-2", entry("0")), ("fresh-1", entry("0"))])
    assert same == Entry(answers={"0": 2})
    rounds = [("fresh-2", entry("0")), ("fresh-2", entry("0")), ("past-2", entry("0"))]
    varied = together([("fresh-1", entry("SIGSEGV")), *rounds, ("past-1", entry(unasked="back"))])
    assert varied.answers == {"0": 3, "SIGSEGV": 1} and list(varied.answers) == ["0", "SIGSEGV"]
    assert varied.where == {"0": ("fresh-2", "past-2"), "SIGSEGV": ("fresh-1",)}


def test_an_entry_without_an_answer_says_why() -> None:
    assert together([("a", entry(unasked="back")), ("b", entry(unasked="x"))]).unasked == "back"
    assert together([("a", entry("0")), ("b", entry(absent=True))]).absent
