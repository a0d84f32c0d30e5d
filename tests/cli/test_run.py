"""``xdiag run`` and ``xdiag fix`` on the case: a framework, XSched, a worker thread."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from framework import Scene

from xdiag.runtimes.agent import library as software_agent

if TYPE_CHECKING:
    from xdiag.model import Target


@pytest.fixture(params=["fake", "real"])
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, fake_library: Path, home: dict[str, str]
) -> Scene:
    """The case with two runtimes: on the fake one, and on AMD's over the software agent."""
    folder = tmp_path / "case"
    if request.param == "fake":
        # It is linked to an HSA runtime, as a real one is.
        agent = str(software_agent().parent)
        made = Scene(folder, fake_library, {"FAKE_FAULT": "", "LD_LIBRARY_PATH": agent}, "0")
    else:
        target: Target = request.getfixturevalue("real_target")
        folder.mkdir()
        # Its SONAME is what it is installed under.
        runtime = Path(shutil.copy(target.runtime, folder / target.soname))
        path = {"LD_LIBRARY_PATH": ":".join(target.library_path)}
        made = Scene(folder, runtime, {**target.environment, **path}, "0")
    made.environ["XSCHED_HIP_LIB"] = str(made.second)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        made.environ[name] = home[name]
    return made


def run(
    scene: Scene, *arguments: str, program: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """``xdiag run ARGUMENTS -- python case.py``."""
    command = [sys.executable, "-m", "xdiag", "run", *arguments, "--", sys.executable]
    return subprocess.run(
        [*command, str(program or scene.case())], env=scene.environ, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


def test_without_a_repair_the_handle_is_refused_and_explained(scene: Scene) -> None:
    done = run(scene, "--repair", "none")
    assert (done.returncode, done.stdout) == (1, "HipQueueCreate 709\n"), done.stderr
    assert "hipStreamGetFlags" in done.stderr
    assert str(scene.bundled) in done.stderr
    assert str(scene.second) in done.stderr


def test_what_it_says_to_do_is_what_it_would_do(scene: Scene) -> None:
    done = run(scene, "--repair", "none")
    told = " ".join(done.stderr.split())
    assert "start the program with: xdiag run -- COMMAND, which chooses xsched-hip-lib" in told
    assert run(scene).stderr.startswith("xdiag: repair: xsched-hip-lib (")


def test_of_two_causes_both_are_named_in_order(scene: Scene) -> None:
    program = scene.old_case()
    done = run(scene, "--repair", "none", program=program)
    told = " ".join(done.stderr.split())
    places = [
        told.find(each)
        for each in (
            "do: two causes", "1. the handle is cut", "2. whole, it is another copy's still",
            "xdiag run -- COMMAND, which chooses xsched-hip-lib and full-width-handle",
        )
    ]  # fmt: skip
    assert -1 not in places and places == sorted(places), done.stderr
    both = "xdiag: repair: xsched-hip-lib and full-width-handle ("
    done = run(scene, program=program)
    assert done.stderr.startswith(both)
    assert (done.returncode, done.stdout) == (0, "HipQueueCreate 0\n"), done.stderr


@pytest.mark.parametrize(
    ("repair", "told"), [("auto", "xsched-hip-lib"), ("unify", "unify"), ("xsched-hip-lib", "")]
)
def test_a_repair_makes_the_case_work(scene: Scene, repair: str, told: str) -> None:
    done = run(scene, "--repair", repair)
    assert (done.returncode, done.stdout) == (0, "HipQueueCreate 0\n"), done.stderr
    assert f"xdiag: repair: {told}" in done.stderr


def test_where_a_variable_is_not_enough_the_loader_is_asked(scene: Scene) -> None:
    scene.opener(str(scene.second))
    done = run(scene, "-v")
    assert (done.returncode, done.stdout) == (0, "HipQueueCreate 0\n"), done.stderr
    assert "xdiag: repair: unify" in done.stderr
    assert "xsched-hip-lib: not taken, foretold again with it: 2 HIP runtimes" in done.stderr


def test_a_record_is_kept_and_explained(scene: Scene, tmp_path: Path) -> None:
    record = tmp_path / "kept"
    done = run(scene, "--repair", "none", "--record", str(record))
    assert done.returncode == 1
    assert record.stat().st_mode & 0o777 == 0o600
    explained = subprocess.run(
        [sys.executable, "-m", "xdiag", "explain", str(record)], env=scene.environ,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert explained.returncode == 1, explained.stderr
    assert "two-runtimes" in explained.stdout
    assert str(scene.bundled) in explained.stdout


def test_a_report_is_explained_as_it_is(scene: Scene, tmp_path: Path) -> None:
    """The zip that xdiag report writes: each thing in it is told once, by what was put in."""
    record, log, packed = tmp_path / "kept", tmp_path / "job.log", tmp_path / "r.zip"
    run(scene, "--repair", "none", "--record", str(record))
    log.write_text("RuntimeError: HIP error: context is destroyed\n")
    script = scene.case()

    def xdiag(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xdiag", *map(str, arguments)], env=scene.environ,
            capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
        )  # fmt: skip

    done = xdiag("report", "-o", packed, "--record", record, "--log", log, "--", sys.executable,
                 script)  # fmt: skip
    assert done.returncode == 1, done.stderr
    told = xdiag("explain", "--json", packed)
    assert told.returncode == 1, told.stderr
    document = json.loads(told.stdout)
    (kept,) = document["records"]
    assert kept["record"]["path"] == f"{packed}/records/kept"
    assert [each["cause"] for each in kept["diagnoses"]] == ["two-runtimes"]
    sources = [each["path"] for each in document["explanation"]["sources"]]
    assert sources == [f"{packed}/{name}" for name in ("doctor.json", "probes.json",
                                                       "logs/job.log")]  # fmt: skip


def test_nothing_is_left_behind(scene: Scene, home: dict[str, str], tmp_path: Path) -> None:
    run(scene)
    left = [path for path in Path(home["XDG_CACHE_HOME"]).rglob("record*") if path.is_file()]
    assert left == []


def test_quiet_says_nothing_where_nothing_was_wrong(scene: Scene) -> None:
    done = run(scene, "--quiet", "--repair", "unify")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_old_binding_cuts_the_handle_and_is_repaired(scene: Scene) -> None:
    scene.environ["XSCHED_HIP_LIB"] = str(scene.bundled)
    program = scene.old_case()
    refused = run(scene, "--repair", "none", program=program)
    assert (refused.returncode, refused.stdout) == (1, "HipQueueCreate 709\n"), refused.stderr
    assert "truncated-handle" in refused.stderr
    done = run(scene, program=program)
    assert (done.returncode, done.stdout) == (0, "HipQueueCreate 0\n"), done.stderr
    assert "xdiag: repair: full-width-handle" in done.stderr
    assert "argument types set for xsched_hip: HipQueueCreate" in done.stderr


def test_fix_shows_each_repair_before_and_after(scene: Scene) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "fix", "--json", "--agent", "software", "--",
         sys.executable, str(scene.case())],
        env=scene.environ, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["causes"] == ["two-runtimes"]
    assert told["chosen"] == ["xsched-hip-lib"]
    assert told["target"]["runtime"] == str(scene.bundled)
    assert told["second"] == str(scene.second)
    assert told["tried_on"] == "the copies that the program will load"
    trials = {trial["repair"]: trial for trial in told["trials"]}
    assert trials["triton-libhip"]["skipped"]
    unify = {pair["pattern"]: pair for pair in trials["unify"]["pairs"]}["second-runtime"]
    assert unify["before"]["outcome"]["code"] == 709
    assert unify["after"]["outcome"]["kind"] == "ok"
    preload = {pair["pattern"]: pair for pair in trials["preload"]["pairs"]}["second-runtime"]
    assert preload["after"]["outcome"]["code"] == 709


@pytest.mark.parametrize("place", ["shell", "slurm", "dockerfile"])
def test_fix_prints_lines_that_do_it(scene: Scene, place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "fix", "--print", place, "--", sys.executable,
         str(scene.case())],
        env=scene.environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"XSCHED_HIP_LIB={scene.bundled}" in done.stdout.replace('"', "")
    if place == "shell":
        case = subprocess.run(
            ["sh", "-c", f"{done.stdout}\nexec {sys.executable} {scene.case()}"],
            env=scene.environ, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert case.stdout == "HipQueueCreate 0\n", case.stderr
