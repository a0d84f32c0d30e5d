"""What a run says to do is what ``xdiag run`` would do, or what is left where it has done that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from doctor.scenes import OLD_BINDING
from framework import Scene
from runtimes.conftest import compile_library

from xdiag.discover.root import Root
from xdiag.doctor.interpreter import Interpreter
from xdiag.doctor.patient import Patient
from xdiag.errors import CannotRun
from xdiag.recording.diagnosis import START, Diagnosis
from xdiag.repair import advice, choose
from xdiag.repair.choose import Choice
from xdiag.repair.repair import Situation

if TYPE_CHECKING:
    from pathlib import Path

KEEP = "make every party open the first"
CROSSED = Diagnosis("two-runtimes", "it is another copy's", remedy=(KEEP, START))
CUT = Diagnosis("truncated-handle", "it is cut", remedy=("declare types",))
BOTH = Diagnosis("truncated-handle", "cut, and another copy's", remedy=("repair both", START))


@pytest.fixture
def scene(tmp_path: Path, fake_library: Path) -> Scene:
    """Two runtimes, and XSched's old binding beside the new one."""
    made = Scene(tmp_path, fake_library, {}, "0")
    made.environ["XSCHED_HIP_LIB"] = str(made.second)
    (made.site / "xsched_hip.py").write_text(OLD_BINDING)
    compile_library(made.site / "xsched/lib/libshimhip.so", "int HipQueueCreate;")
    return made


def situation(scene: Scene, **fields: object) -> Situation:
    python = Interpreter(sys.executable, "the test says so")
    patient = Patient(Root(), scene.environ, python, cwd=str(scene.site), **fields)  # type: ignore[arg-type]
    return Situation(patient)


def told(diagnosis: Diagnosis, at: Situation, *made: str) -> tuple[str, ...]:
    (advised,) = advice.advised([diagnosis], at, choose.named(made, at) if made else Choice())
    assert advised.sentence == diagnosis.sentence
    return advised.remedy


@pytest.mark.parametrize("fault", [CROSSED, CUT, BOTH])
def test_after_a_run_without_repairs_it_is_what_run_chooses(scene: Scene, fault: Diagnosis) -> None:
    at = situation(scene)
    assert choose.auto(at).repairs == ("xsched-hip-lib", "full-width-handle")
    *before, last = told(fault, at)
    assert last == f"{START}, which chooses xsched-hip-lib and full-width-handle"
    assert before == [line for line in fault.remedy if line != START]


@pytest.mark.parametrize("made", ["xsched-hip-lib", "full-width-handle"])
def test_after_half_of_the_repair_the_whole_is_named(scene: Scene, made: str) -> None:
    left = CUT if made == "xsched-hip-lib" else CROSSED
    *_, last = told(left, situation(scene), made)
    assert last == f"{START}, which chooses xsched-hip-lib and full-width-handle"


def test_a_repair_that_was_not_enough_is_not_named_again(scene: Scene) -> None:
    *_, start, why = told(CROSSED, situation(scene), "xsched-hip-lib", "full-width-handle")
    assert start == (
        "or start the program with: xdiag run --repair unify,full-width-handle -- COMMAND"
    )
    assert why == "(with xsched-hip-lib alone it came to this)"


def test_where_the_loader_was_asked_in_vain_no_start_is_named(scene: Scene) -> None:
    remedy = told(CROSSED, situation(scene), "unify")
    # By itself it would choose another, which does not reach further.
    assert remedy[-1] == f"{START}, which chooses xsched-hip-lib and full-width-handle"
    scene.environ["XSCHED_HIP_LIB"] = str(scene.bundled)
    (scene.site / "xsched_hip.py").unlink()
    remedy = told(CROSSED, situation(scene), "unify")
    assert remedy == (KEEP, "unify was made, and did not reach what failed")


def test_what_was_seen_counts_more_than_what_was_foretold(scene: Scene) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.bundled)
    (scene.site / "xsched_hip.py").unlink()
    at = situation(scene)
    assert choose.auto(at).repairs == ()
    assert told(CROSSED, at) == (
        KEEP,
        "or start the program with: xdiag run --repair unify -- COMMAND",
        "(left to itself it would not: one runtime is foretold: there is nothing to unify)",
    )


def test_what_no_start_repairs_is_said(scene: Scene) -> None:
    at = situation(scene, reads_environment=False)
    remedy = told(BOTH, at)
    assert remedy[0] == "repair both"
    assert remedy[1] == f"{START}, which chooses xsched-hip-lib, which is not all that it needs"
    assert remedy[2].startswith("xdiag run cannot do it by full-width-handle: Python is started")


def test_other_faults_stay_as_they_are_and_nothing_is_foretold_for_them(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def must_not(_: Situation) -> Choice:
        raise AssertionError("foretold for nothing")

    monkeypatch.setattr(choose, "auto", must_not)
    others = (
        Diagnosis("destroyed-stream", "it was destroyed", remedy=("keep it alive",)),
        Diagnosis("two-runtimes-loaded", "two are loaded", fault=False, remedy=(START,)),
    )
    assert advice.advised(others, situation(scene), Choice()) == others


def test_where_nothing_can_be_foretold_the_record_alone_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(_: Situation) -> Choice:
        raise CannotRun("its Python cannot be made out")

    monkeypatch.setattr(choose, "auto", cannot)
    assert told(CROSSED, situation(scene)) == CROSSED.remedy
