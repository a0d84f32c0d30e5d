"""Every cell of the matrix, written down, built, and run on the real runtime: it tells the same.

C: every cell that runs.  Python, where a story can be told in it: every pattern without a fix, and
every fix once.  Each program runs in a process of its own, in the environment that its cell had.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support import cells_for, interpreter_hides_environ

from emit.programs import (
    arguments,
    build_all,
    differences,
    run_all,
    seen,
    without_head,
)
from xdiag import emit
from xdiag.engine.run import Engine
from xdiag.errors import Usage
from xdiag.model import OutcomeKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emit.programs import Told
    from xdiag.engine.messages import Paths
    from xdiag.model import Cell, Result, Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: Ends that a story may have, all of which the matrix of 5.2 over the software agent has.
_ENDS = {OutcomeKind.OK, OutcomeKind.ERROR, OutcomeKind.CRASH, OutcomeKind.HANG}


@pytest.fixture(scope="module")
def results(real_target: Target, real_paths: Paths) -> Mapping[str, Result]:
    """All cells that run, as the engine saw them."""
    if real_target.agent != "software":
        pytest.skip("a GPU answers here: crashes and hangs are not tried on it")
    with Engine(real_target, real_paths, jobs=2) as engine:
        return {result.cell.id: result for result in engine.run(cells_for())}


def _compared(results: Mapping[str, Result], told: Mapping[str, Told]) -> tuple[int, list[str]]:
    """How many steps of programs were compared, and what was told otherwise."""
    found = [
        f"{id}: {difference}\n{told[id].text}"
        for id in told
        for difference in differences(results[id], told[id])
    ]
    steps = sum(len(set(told[id].steps) & set(seen(results[id]))) for id in told)
    return steps, found


def test_the_c_program_of_every_cell_tells_what_the_cell_told(
    results: Mapping[str, Result],
    real_target: Target,
    real_paths: Paths,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Where this Python hides `environ` from a library opened with RTLD_DEEPBIND, its cells crash;
    # a C program has none to hide.
    hidden = {"second-runtime-deepbind"} if interpreter_hides_environ() else set()
    texts = {
        id: emit.write(result.cell, "c")
        for id, result in results.items()
        if result.cell.pattern not in hidden
    }
    built = build_all(texts.values(), tmp_path_factory.mktemp("programs"))
    commands = {
        id: [str(built[without_head(text)]), *arguments(text, real_paths)]
        for id, text in texts.items()
    }
    told = run_all(commands, results, real_target, real_paths)
    steps, found = _compared(results, told)
    assert not found, f"{len(found)} differences, first: {found[0]}"
    assert len(told) == len([c for c in cells_for() if c.pattern not in hidden]) > 390
    # Nothing was left out: some twenty steps a cell, and every kind of end.
    assert steps > 13 * len(told)
    assert {results[id].outcome.kind for id in told} >= _ENDS


def _for_python(cells: list[Cell]) -> dict[str, str]:
    """Texts of every pattern without a fix, and of each fix where it occurs first."""
    texts: dict[str, str] = {}
    fixes: set[str] = set()
    for cell in cells:
        if cell.fix != "none" and cell.fix in fixes:
            continue
        try:
            texts[cell.id] = emit.write(cell, "python")
        except Usage:
            continue
        fixes.add(cell.fix)
    return texts


def test_the_python_program_of_every_pattern_and_of_every_fix_tells_the_same(
    results: Mapping[str, Result], real_target: Target, real_paths: Paths, tmp_path: Path
) -> None:
    texts = _for_python([result.cell for result in results.values()])
    commands = {}
    for number, (id, text) in enumerate(texts.items()):
        program = tmp_path / f"{number}.py"
        program.write_text(text)
        commands[id] = [sys.executable, str(program), *arguments(text, real_paths)]
    told = run_all(commands, results, real_target, real_paths)
    steps, found = _compared(results, told)
    assert not found, f"{len(found)} differences, first: {found[0]}"
    cells = [results[id].cell for id in told]
    assert {cell.pattern for cell in cells} == {r.cell.pattern for r in results.values()}
    # Python starts no native threads; of XSched's queue, only what comes before its own thread.
    missing = {r.cell.fix for r in results.values()} - {cell.fix for cell in cells}
    assert missing == {"native-thread"}
    assert steps > 13 * len(told)
    assert {results[id].outcome.kind for id in told} >= _ENDS


@pytest.mark.parametrize("language", emit.LANGUAGES)
def test_with_what_was_seen_at_its_head_a_program_is_short_still(
    results: Mapping[str, Result], real_target: Target, language: str
) -> None:
    written = 0
    for result in results.values():
        try:
            text = emit.write(result.cell, language, result=result, target=real_target)
        except Usage:
            continue
        written += 1
        lines = text.splitlines()
        assert len(lines) < 120, result.cell.id
        assert max(map(len, lines)) <= 100, result.cell.id
        assert f"Seen with HIP {real_target.version}" in " ".join(text.replace("\n *", "").split())
    assert written > 150


@pytest.mark.parametrize(
    "id",
    [
        "second-runtime/none/replay",
        "second-runtime/preload/replay",
        "second-runtime-by-name/none/replay",
        "second-runtime-by-name/path-order/replay",
        "library-first-by-soname/none/replay",
        "second-runtime/unify/replay",
    ],
)
def test_the_commands_of_the_head_do_it(
    id: str, results: Mapping[str, Result], real_target: Target, real_paths: Paths, tmp_path: Path
) -> None:
    """A shell is given the head's own lines, with this machine's files for the examples."""
    from xdiag.engine.environment import start_environment

    cell = results[id].cell
    text = emit.write(cell, "c", name="repro.c")
    (tmp_path / "repro.c").write_text(text)
    lines = [line[3:].strip() for line in text.splitlines() if line.startswith(" *     ")]
    files = {
        # Where the loader would find them by their names.
        "FIRST": f"{real_paths.first_directory}/{real_paths.soname}",
        "COPY": f"{real_paths.copy_directory}/{real_paths.soname}",
        "SONAME": real_paths.soname,
        "NAME": real_paths.name,
    }
    script = []
    for line in lines:
        name = line.partition("=")[0]
        given = f"{name}={files[name]}" if name in files else line
        script.append(given.replace("python3", sys.executable))
    environment = start_environment({}, real_target, real_paths).variables
    done = subprocess.run(
        ["bash", "-ec", "\n".join(script)], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=100,
    )  # fmt: skip
    fault = results[id].outcome.kind is not OutcomeKind.OK
    assert done.returncode == fault, done.stdout + done.stderr
    assert ("-> 709 hipErrorContextIsDestroyed" in done.stdout) == fault
