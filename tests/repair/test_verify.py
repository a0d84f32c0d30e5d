"""Repairs are tried on the copies that the program will load, and it is said where they are not."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from doctor.scenes import OLD_BINDING
from framework import Scene
from msgspec.structs import replace
from runtimes.conftest import compile_library

from xdiag.discover.root import Root
from xdiag.doctor.interpreter import Interpreter
from xdiag.doctor.patient import Patient
from xdiag.errors import CannotRun
from xdiag.repair import verify
from xdiag.repair.repair import Situation

if TYPE_CHECKING:
    from pathlib import Path

    from xdiag.model import Target
    from xdiag.repair.verify import Trials


@pytest.fixture
def scene(tmp_path: Path, fake_library: Path) -> Scene:
    """A framework with a bundled runtime, which XSched opens too, by its old binding."""
    made = Scene(tmp_path, fake_library, {}, "0")
    made.environ["XSCHED_HIP_LIB"] = str(made.bundled)
    (made.site / "xsched_hip.py").write_text(OLD_BINDING)
    compile_library(made.site / "xsched/lib/libshimhip.so", "int HipQueueCreate;")
    return made


def situation(scene: Scene) -> Situation:
    python = Interpreter(sys.executable, "the test says so")
    return Situation(Patient(Root(), scene.environ, python, cwd=str(scene.site)))


@dataclass
class Chooser:
    """Chooses what it is asked for, the fake runtime for None; refuses what is in ``broken``."""

    at_hand: Target
    broken: tuple[str | None, ...] = ()
    asked: list[str | None] = field(default_factory=list)

    def __call__(self, keep: str | None) -> Target:
        self.asked.append(keep)
        if keep in self.broken:
            raise CannotRun(f"{keep}: does not work")
        return replace(self.at_hand, runtime=keep or self.at_hand.runtime)


def tried(scene: Scene, chooser: Chooser, cause: str, *causes: str) -> Trials:
    pattern = {"truncated-handle": "truncated-handle", "two-runtimes": "second-runtime"}[cause]
    trials = verify.put_to_the_test(situation(scene), chooser, causes=causes, globs=[pattern])
    assert trials is not None
    return trials


def test_a_cut_handle_is_tried_on_the_programs_copy(scene: Scene, fake_target: Target) -> None:
    chooser = Chooser(fake_target)
    trials = tried(scene, chooser, "truncated-handle")
    assert chooser.asked == [str(scene.bundled)]
    assert trials.target is not None and trials.target.runtime == str(scene.bundled)
    assert trials.tried_on == "the copy that the program will load"
    (trial,) = trials.trials
    assert (trial.repair, trial.failed, trial.repaired) == ("full-width-handle", 1, 1)


def test_two_runtimes_are_tried_on_the_programs_two(scene: Scene, fake_target: Target) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    trials = tried(scene, Chooser(fake_target), "two-runtimes")
    assert trials.target is not None and trials.target.runtime == str(scene.bundled)
    assert trials.second == str(scene.second)
    assert trials.tried_on == "the copies that the program will load"
    assert {each.repair: each.repaired for each in trials.trials}["xsched-hip-lib"] == 1


def test_a_cause_that_is_not_here_is_tried_on_the_programs_copy_and_a_second_of_it(
    scene: Scene, fake_target: Target
) -> None:
    trials = tried(scene, Chooser(fake_target), "two-runtimes", "two-runtimes")
    assert trials.target is not None and trials.target.runtime == str(scene.bundled)
    assert trials.tried_on == "the copy that the program will load, and a second of it"


def test_a_copy_that_cannot_be_run_is_replaced_for_a_cut_handle(
    scene: Scene, fake_target: Target
) -> None:
    chooser = Chooser(fake_target, broken=(str(scene.bundled),))
    trials = tried(scene, chooser, "truncated-handle")
    assert trials.target is not None and trials.target.runtime == fake_target.runtime
    assert trials.trials[0].repaired == 1
    assert trials.tried_on == (
        f"the program's own copy, {scene.bundled}, cannot be run here; another shows the same,"
        " since ctypes cuts a handle before any runtime has it"
    )


def test_two_runtimes_are_not_tried_on_others_than_the_programs(
    scene: Scene, fake_target: Target
) -> None:
    """Whether two copies get along is a matter of these two."""
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    trials = tried(scene, Chooser(fake_target, broken=(str(scene.bundled),)), "two-runtimes")
    assert trials.target is None and trials.no_target == f"{scene.bundled}: does not work"
    assert trials.second == str(scene.second)
    assert all(each.skipped and not each.pairs for each in trials.trials)


def test_where_nothing_can_be_run_it_is_the_programs_copy_that_is_told_of(
    scene: Scene, fake_target: Target
) -> None:
    chooser = Chooser(fake_target, broken=(str(scene.bundled), None))
    trials = tried(scene, chooser, "truncated-handle")
    assert trials.target is None and trials.no_target == f"{scene.bundled}: does not work"


def test_a_runtime_that_the_user_names_is_said_to_be_another(
    scene: Scene, fake_target: Target
) -> None:
    named = Chooser(fake_target)
    trials = verify.put_to_the_test(
        situation(scene), lambda _: named(None), globs=["truncated-handle"]
    )
    assert trials is not None
    assert trials.tried_on.startswith("not the copy that the program will load; another shows")
    trials = verify.put_to_the_test(
        situation(scene), lambda _: named(None), causes=["two-runtimes"], globs=["second-runtime"]
    )
    assert trials is not None
    assert trials.tried_on.startswith("not the copies that the program will load")


def test_without_a_foretold_copy_that_is_said(fake_target: Target) -> None:
    patient = Patient(Root(), {}, program="/bin/true", command=("/bin/true",))
    trials = verify.put_to_the_test(
        Situation(patient), Chooser(fake_target), causes=["truncated-handle"],
        globs=["truncated-handle"],
    )  # fmt: skip
    assert trials is not None
    assert trials.tried_on.startswith("which copy the program will load is not known; another")
