"""The choice of a repair, on files as they are on a machine: the least intrusive that is enough."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from doctor.scenes import OLD_BINDING
from framework import Scene
from runtimes.conftest import compile_library
from support import build_fake

from xdiag.discover.root import Root
from xdiag.doctor.interpreter import Interpreter
from xdiag.doctor.patient import Patient
from xdiag.errors import Usage
from xdiag.fixes import FIXES
from xdiag.model import NotApplicable
from xdiag.repair import choose
from xdiag.repair.catalogue import REPAIRS
from xdiag.repair.repair import Situation

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def scene(tmp_path: Path, fake_library: Path) -> Scene:
    """A framework with a bundled runtime; XSched opens the same file."""
    made = Scene(tmp_path, fake_library, {}, "0")
    made.environ["XSCHED_HIP_LIB"] = str(made.bundled)
    return made


def situation(scene: Scene, **fields: object) -> Situation:
    python = Interpreter(sys.executable, "the test says so")
    patient = Patient(Root(), scene.environ, python, cwd=str(scene.site), **fields)  # type: ignore[arg-type]
    return Situation(patient)


def because(choice: choose.Choice) -> dict[str, str]:
    return {each.repair: each.because for each in choice.considered}


def test_where_nothing_is_wrong_nothing_is_repaired(scene: Scene) -> None:
    choice = choose.auto(situation(scene))
    assert choice.repairs == ()
    assert choice.change.applied(scene.environ) == scene.environ
    assert choice.nothing_to_say


def test_a_variable_that_only_one_package_reads_comes_first(scene: Scene) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    seen = situation(scene)
    choice = choose.auto(seen)
    assert choice.repairs == ("xsched-hip-lib",)
    assert choice.change.set == {"XSCHED_HIP_LIB": str(scene.bundled)}
    assert seen.causes == ("two-runtimes",)
    assert because(choice)["unify"] == "not needed besides"
    assert not choice.nothing_to_say


def test_the_framework_keeps_its_copy_whoever_is_first(scene: Scene) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    scene.environ["LD_PRELOAD"] = str(scene.second)
    # The preloaded copy has the SONAME that the framework asks for: there the framework gets it.
    assert situation(scene).keep in (str(scene.second), str(scene.bundled))
    del scene.environ["LD_PRELOAD"]
    assert situation(scene).keep == str(scene.bundled)


def test_where_variables_are_not_enough_the_loader_is_asked_alone(scene: Scene) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    scene.opener(str(scene.second))
    choice = choose.auto(situation(scene))
    assert choice.repairs == ("unify",)
    assert choice.change.set["XDIAG_UNIFY"] == "libamdhip64"
    assert choice.change.set["XDIAG_KEEP"] == str(scene.bundled)
    assert "XSCHED_HIP_LIB" not in choice.change.set


def test_a_bare_name_is_repaired_by_the_path(scene: Scene) -> None:
    (scene.second.parent / "libamdhip64.so").symlink_to(scene.second.name)
    (scene.bundled.parent / "libamdhip64.so").symlink_to(scene.bundled.name)
    scene.environ["LD_LIBRARY_PATH"] += f":{scene.second.parent}"
    scene.opener("libamdhip64.so")
    choice = choose.auto(situation(scene))
    assert choice.repairs == ("path-order",)
    assert choice.change.in_front == {"LD_LIBRARY_PATH": str(scene.bundled.parent)}


def test_another_major_version_is_not_unified(scene: Scene, tmp_path: Path) -> None:
    other = build_fake(tmp_path, "-Wl,-soname,libamdhip64.so.6")
    scene.opener(str(other))
    choice = choose.auto(situation(scene))
    assert choice.repairs == ()
    assert "different major versions" in because(choice)["unify"]
    assert "2 HIP runtimes are foretold whatever is changed" in choice.because


def test_a_program_that_cannot_be_foretold_is_unified() -> None:
    patient = Patient(Root(), {}, program="/bin/sh", command=("/bin/sh",), launcher=True)
    choice = choose.auto(Situation(patient))
    assert choice.repairs == ("unify",)
    assert "XDIAG_KEEP" not in choice.change.set


def test_a_static_program_is_left_alone_and_it_is_said(tmp_path: Path) -> None:
    program = tmp_path / "static"
    subprocess.run(
        ["cc", "-static", "-x", "c", "-", "-o", str(program)],
        input="int main(void) { return 0; }", text=True, check=True,
    )  # fmt: skip
    choice = choose.auto(Situation(Patient(Root(), {}, program=str(program))))
    assert choice.repairs == ()
    assert "static" in because(choice)["unify"]


def test_the_old_binding_is_repaired_besides(scene: Scene) -> None:
    (scene.site / "xsched_hip.py").write_text(OLD_BINDING)
    compile_library(scene.site / "xsched/lib/libshimhip.so", "int HipQueueCreate;")
    choice = choose.auto(situation(scene))
    assert choice.repairs == ("full-width-handle",)
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    choice = choose.auto(situation(scene))
    assert choice.repairs == ("xsched-hip-lib", "full-width-handle")


def test_a_named_repair_that_cannot_be_made_is_refused(scene: Scene) -> None:
    with pytest.raises(Usage, match="Triton"):
        choose.named(["triton-libhip"], situation(scene))
    with pytest.raises(Usage, match="did you mean unify"):
        choose.named(["unfy"], situation(scene))


def test_the_catalogue_is_ordered_and_each_repair_is_a_fix() -> None:
    assert [repair.id for repair in REPAIRS][:2] == ["xsched-hip-lib", "triton-libhip"]
    assert {repair.fix for repair in REPAIRS} <= {fix.id for fix in FIXES}
    assert len({repair.id for repair in REPAIRS}) == len(REPAIRS)


def test_what_the_command_takes_away_is_known(scene: Scene) -> None:
    seen = situation(scene, command=("env", "-i", sys.executable))
    change = choose.named(["unify"], seen).change
    assert "LD_AUDIT" in seen.lost(change)
    kept = situation(scene, command=("env", "A=b", sys.executable))
    assert kept.lost(change) == ()


def test_a_variable_that_the_command_sets_itself_is_no_repair(scene: Scene) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second)
    setting = f"XSCHED_HIP_LIB={scene.second}"
    choice = choose.auto(situation(scene, command=("env", setting, sys.executable)))
    assert choice.repairs == ("unify",)
    assert because(choice)["xsched-hip-lib"] == "the command sets or clears XSCHED_HIP_LIB itself"


def test_a_program_that_does_not_name_the_old_binding_is_left_alone(scene: Scene) -> None:
    (scene.site / "xsched_hip.py").write_text(OLD_BINDING)
    compile_library(scene.site / "xsched/lib/libshimhip.so", "int HipQueueCreate;")
    choice = choose.auto(situation(scene, script=str(scene.case())))
    assert "full-width-handle" not in choice.repairs
    assert "no file of the program imports" in because(choice)["full-width-handle"]
    assert "is here, and stays as it is: no file of the program imports" in choice.because
    choice = choose.auto(situation(scene, script=str(scene.old_case())))
    assert "full-width-handle" in choice.repairs
    # What lies beside the script and is not imported by it says nothing of it.
    choice = choose.auto(situation(scene, script=str(scene.case())))
    assert "full-width-handle" not in choice.repairs
    computed = scene.site / "computed.py"
    computed.write_text("# xsched_hip\n__import__('xsched_' + 'hip')\n")
    assert "full-width-handle" in choose.auto(situation(scene, script=str(computed))).repairs


def test_every_repair_says_what_it_does_or_why_not(scene: Scene) -> None:
    seen = situation(scene)
    for repair in REPAIRS:
        change = repair.change(seen)
        assert not isinstance(change, NotApplicable) or change.reason
