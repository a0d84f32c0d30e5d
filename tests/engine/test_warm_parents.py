"""Cells that ask for variables, in processes executed with them: the real loader, a fake HIP.

What is said here of one start environment has to hold of several at once.
"""

from __future__ import annotations

import subprocess
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING

import psutil
import pytest
from msgspec.structs import replace
from support import cells_for

from xdiag.engine import warm_parent, zygote
from xdiag.engine.run import Engine
from xdiag.errors import CannotRun
from xdiag.launch import audit_library
from xdiag.model import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from xdiag.engine.messages import Paths
    from xdiag.model import Cell, Outcome, Result, Target

SAME = "same-thread/none/replay"


def _asking(number: int, **environment: str) -> Cell:
    """A cell that works, and asks for these variables."""
    (cell,) = cells_for(SAME)
    return replace(cell, id=f"{number}", environment=environment)


def _library(folder: Path, source: str, *options: str, name: str = "liboddity.so") -> str:
    path = folder / name
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path), "-x", "none", *options]
    subprocess.run(command, input=source, text=True, check=True)
    return str(path)


@pytest.fixture
def outcome_of(fake_target: Target, fake_paths: Paths) -> Callable[..., Outcome]:
    """The outcome of a cell that asks for variables, run between two that ask for none."""

    def ask(**environment: str) -> Outcome:
        cells = [_asking(1), _asking(2, **environment), _asking(3)]
        with Engine(fake_target, fake_paths, jobs=2) as engine:
            outcomes = {result.cell.id: result.outcome for result in engine.run(cells)}
        assert outcomes["1"].kind == outcomes["3"].kind == OutcomeKind.OK
        assert psutil.Process().children() == []
        return outcomes["2"]

    return ask


# ---- several at once ----


def test_each_cell_has_the_variables_that_it_asks_for_and_no_other(
    fake_target: Target, fake_paths: Paths
) -> None:
    faults = {
        "hipStreamGetFlags=exit": OutcomeKind.EXIT,
        "hipStreamGetFlags=segv": OutcomeKind.CRASH,
    }
    kinds = {"": OutcomeKind.OK, **faults}
    cells = [
        _asking(number, **({"FAKE_FAULT": fault} if fault else {}))
        for number, fault in enumerate(islice(cycle(kinds), 45))
    ]
    me = psutil.Process()
    parents = set()
    with Engine(fake_target, fake_paths, jobs=2) as engine:
        results = []
        for result in engine.run(cells):
            results.append(result)
            parents.add(len(me.children()))
        assert len(me.children()) == 1  # the plain one waits for another run
    assert len(results) == 45 and max(parents) <= 3
    for result in results:
        assert result.outcome.kind == kinds[result.cell.environment.get("FAKE_FAULT", "")]


def test_processes_and_descriptors_do_not_grow_with_runs(
    fake_target: Target, fake_paths: Paths
) -> None:
    cells = [_asking(1), _asking(2, XDIAG_TEST="a"), _asking(3, XDIAG_TEST="b")]
    me = psutil.Process()
    with Engine(fake_target, fake_paths, jobs=2) as engine:
        seen = []
        for _ in range(4):
            assert len(list(engine.run(cells))) == 3
            seen.append((me.num_fds(), len(me.children(recursive=True))))
    assert set(seen) == {seen[0]} and seen[0][1] == 1
    assert me.children() == []


def test_closing_in_the_middle_leaves_nothing(fake_target: Target, fake_paths: Paths) -> None:
    me = psutil.Process()
    before = me.num_fds()
    cells = [_asking(n, FAKE_FAULT="hipStreamGetFlags=hang", N=str(n % 3)) for n in range(6)]
    with Engine(fake_target, fake_paths, jobs=6) as engine:
        for _ in engine.run([*cells, _asking(7)]):
            family = me.children(recursive=True)
            break  # one was done, and three warm parents have a cell that hangs, or are starting
    assert len(family) >= 4
    assert me.children(recursive=True) == []
    assert me.num_fds() == before


def test_a_cell_that_kills_its_parent_costs_no_other_environment_anything(
    fake_target: Target, fake_paths: Paths
) -> None:
    (killer,) = cells_for("device-reset/none/replay")
    environment = {"FAKE_FAULT": "hipDeviceReset=parent"}
    cells = [
        _asking(1),
        replace(killer, environment=environment),
        _asking(2, **environment),
        _asking(3, OTHER="1"),
    ]
    with Engine(fake_target, fake_paths, jobs=4) as engine:
        outcomes = {result.cell.id: result.outcome for result in engine.run(cells)}
    assert "killed the process that had forked it" in outcomes.pop(killer.id).reason
    assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.OK}


# ---- what cannot be ----


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
def test_a_file_that_the_loader_passes_over_is_no_experiment(
    outcome_of: Callable[..., Outcome], capfd: pytest.CaptureFixture[str], variable: str
) -> None:
    outcome = outcome_of(**{variable: "/nowhere/lib.so"})
    assert outcome.kind == OutcomeKind.SKIPPED
    assert outcome.reason.startswith("the loader did not take /nowhere/lib.so: ERROR: ld.so: ")
    assert "cannot open shared object file" in outcome.reason
    assert capfd.readouterr() == ("", "")  # its warning is not the user's to read


def test_an_audit_library_that_declines_is_no_experiment(
    outcome_of: Callable[..., Outcome], tmp_path: Path
) -> None:
    declines = _library(tmp_path, "unsigned la_version(unsigned v) { return v - v; }")
    outcome = outcome_of(LD_AUDIT=declines)
    assert (outcome.kind, outcome.reason) == (
        OutcomeKind.SKIPPED, f"the loader did not take {declines}",
    )  # fmt: skip
    accepts = _library(tmp_path, "unsigned la_version(unsigned v) { return v; }", name="b.so")
    assert outcome_of(LD_AUDIT=accepts).kind == OutcomeKind.OK


def test_without_the_audit_library_only_its_cells_are_skipped(
    outcome_of: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_library, "_BUILT", tmp_path / "libxdiag-audit.so")
    outcome = outcome_of(LD_AUDIT="{audit}", XDIAG_UNIFY="libamdhip64")
    assert outcome.kind == OutcomeKind.SKIPPED
    assert "no audit library" in outcome.reason and str(tmp_path) in outcome.reason


@pytest.mark.parametrize(
    ("body", "how"),
    [
        ("exit(0)", "it exited with status 0"),
        ('fputs("no licence\\n", stderr), exit(3)', "no licence"),
        ("abort()", "SIGABRT"),
    ],
)
def test_a_preloaded_library_that_ends_the_process_is_told(
    outcome_of: Callable[..., Outcome], tmp_path: Path, body: str, how: str
) -> None:
    source = (
        "#include <stdio.h>\n#include <stdlib.h>\n"
        f"__attribute__((constructor)) static void begin(void) {{ {body}; }}"
    )
    outcome = outcome_of(LD_PRELOAD=_library(tmp_path, source))
    assert outcome.kind == OutcomeKind.SKIPPED
    assert outcome.reason == f"Python does not start with LD_PRELOAD set so: {how}"


def test_a_preloaded_library_that_lacks_another_is_told_in_the_loaders_words(
    outcome_of: Callable[..., Outcome], tmp_path: Path
) -> None:
    below = _library(tmp_path, "int below;", "-Wl,-soname,libbelow.so", name="libbelow.so")
    library = _library(tmp_path, "extern int below; int *above = &below;", below)
    (tmp_path / "libbelow.so").unlink()
    outcome = outcome_of(LD_PRELOAD=library)
    assert outcome.kind == OutcomeKind.SKIPPED
    assert "libbelow.so: cannot open shared object file" in outcome.reason


def test_it_knows_which_devices_are_open(tmp_path: Path) -> None:
    device = str(tmp_path / "kfd")
    with open(device, "w"):
        assert zygote.open_devices([device, "/dev/absent"]) == [device]
    assert zygote.open_devices([device, "/dev/absent"]) == []


def test_a_preloaded_library_that_hangs_is_waited_for_a_while(
    outcome_of: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_parent, "START_PATIENCE", 2.0)
    source = (
        "#include <unistd.h>\n"
        "__attribute__((constructor)) static void begin(void) { for (;;) pause(); }"
    )
    outcome = outcome_of(LD_PRELOAD=_library(tmp_path, source))
    assert (outcome.kind, outcome.reason) == (
        OutcomeKind.SKIPPED, "Python was not ready after 2 s",
    )  # fmt: skip


def test_where_even_the_plain_one_cannot_start_nothing_is_run(
    fake_target: Target, fake_paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "#include <stdio.h>\n#include <stdlib.h>\n"
        '__attribute__((constructor)) static void begin(void) { fputs("no licence", stderr);'
        " exit(3); }"
    )
    monkeypatch.setenv("LD_PRELOAD", _library(tmp_path, source))
    before = psutil.Process().num_fds()
    with (
        Engine(fake_target, fake_paths) as engine,
        pytest.raises(CannotRun, match="could not start: no licence"),
    ):
        list(engine.run([_asking(1)]))
    assert psutil.Process().children() == [] and psutil.Process().num_fds() == before


def test_all_cells_of_such_an_environment_are_skipped_and_none_is_lost(
    fake_target: Target, fake_paths: Paths
) -> None:
    impossible = {"LD_PRELOAD": "/nowhere/lib.so"}
    cells = chain.from_iterable((_asking(n), _asking(n + 100, **impossible)) for n in range(20))
    with Engine(fake_target, fake_paths, jobs=3) as engine:
        outcomes = {result.cell.id: result.outcome for result in engine.run(cells)}
    assert len(outcomes) == 40
    for id, outcome in outcomes.items():
        expected = OutcomeKind.SKIPPED if int(id) >= 100 else OutcomeKind.OK
        assert outcome.kind == expected, id


# ---- what the loader does then ----

#: pattern -> whether each fix leaves one copy: none, unify, preload, path-order.
ONE_COPY = {
    "second-runtime": (False, True, False, False),
    "second-runtime-global": (False, True, False, False),
    "second-namespace": (False, False, False, False),
    "second-runtime-by-name": (False, True, False, True),
    "library-loaded-first": (False, True, False, False),
    "library-first-by-soname": (False, True, True, True),
    "reopened-by-soname": (True,),
}


@pytest.fixture(scope="module")
def loaded(fake_library: Path, fake_paths: Paths) -> dict[str, Result]:
    """The cells of ``ONE_COPY`` on the fake runtime."""
    from xdiag.model import Target

    target = Target(platform="hip", runtime=str(fake_library), agent="software", devices=2)
    fixes = ("none", "unify", "preload", "path-order")
    ids = [f"{p}/{f}/driver" for p, marks in ONE_COPY.items() for f in fixes[: len(marks)]]
    with Engine(target, fake_paths, jobs=2) as engine:
        return {result.cell.id: result for result in engine.run(cells_for(*ids))}


def _inodes(results: Iterable[Result]) -> list[set[tuple[int, int]]]:
    return [
        {(i.inode, i.namespace) for i in result.outcome.runtimes.values()} for result in results
    ]


@pytest.mark.parametrize("pattern", ONE_COPY)
def test_which_ways_of_opening_each_fix_reaches(loaded: dict[str, Result], pattern: str) -> None:
    results = [result for result in loaded.values() if result.cell.pattern == pattern]
    order = ("none", "unify", "preload", "path-order")
    results.sort(key=lambda result: order.index(result.cell.fix))
    assert tuple(len(copies) == 1 for copies in _inodes(results)) == ONE_COPY[pattern]
    for result, one in zip(results, ONE_COPY[pattern], strict=True):
        assert (result.outcome.kind == OutcomeKind.OK) == one, result.cell.id


def test_the_copy_that_is_kept_is_the_one_that_was_loaded_first(
    loaded: dict[str, Result], fake_paths: Paths
) -> None:
    def kept(id: str) -> set[str]:
        return {i.path for i in loaded[id].outcome.runtimes.values()}

    assert kept("second-runtime/unify/driver") == {fake_paths.first}
    assert kept("library-loaded-first/unify/driver") == {fake_paths.copy}
    found = f"{fake_paths.copy_directory}/{fake_paths.soname}"
    assert kept("library-first-by-soname/unify/driver") == {found}
    assert kept("library-first-by-soname/preload/driver") == {fake_paths.first}


def test_a_runtime_without_a_version_in_its_soname_has_no_other_name(
    fake_target: Target, fake_paths: Paths
) -> None:
    cells = cells_for("second-runtime-by-name/none/replay", "reopened-by-soname/none/replay")
    with Engine(fake_target, replace(fake_paths, soname=fake_paths.name)) as engine:
        by_name, _ = engine.run(cells)
    assert by_name.outcome.kind == OutcomeKind.SKIPPED
    assert "libamdhip64.so itself" in by_name.outcome.reason
    with Engine(fake_target, replace(fake_paths, soname="", name="")) as engine:
        for result in engine.run(cells):
            assert result.outcome.kind == OutcomeKind.SKIPPED
            assert result.outcome.reason == "this runtime has no SONAME"
