"""The same stories on the real HIP 5.2.3, 5.7.1, 6.4.3 and 7.2.4, over the software agent.

What is known of a version is told in docs/why-709.md and docs/api-by-version.md; here a few telling
cells are held against it, and one matrix is made of all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from xdiag import session
from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.errors import XdiagError
from xdiag.fixes import FIXES
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.runtimes import entries
from xdiag.runtimes.choose import choose

if TYPE_CHECKING:
    from pathlib import Path

    from xdiag.model import Report, Target

pytestmark = pytest.mark.versions

VERSIONS = ("5.2", "5.7", "6.4", "7.2")


def target_of(version: str) -> Target:
    """The runtime of this version, over the software agent; skips where it is not here."""
    try:
        return choose(version, "software")
    except XdiagError as error:
        if os.environ.get("XDIAG_TEST_REQUIRE_VERSIONS"):
            raise
        pytest.skip(str(error))


def ran(version: str, patterns: tuple[str, ...], fixes: tuple[str, ...] = ("none",)) -> Report:
    cells = plan(
        [each for each in PATTERNS if each.id in patterns],
        [each for each in FIXES if each.id in fixes],
        CONSUMERS[:2],
    )
    return session.run(cells, target_of(version), command="a test", jobs=2)


def told(report: Report) -> dict[str, str]:
    return {
        result.cell.id: " ".join(
            filter(None, [result.outcome.kind.value, str(result.outcome.code or "")])
        )
        for result in report.results
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sound_stories_work_on_every_version(version: str) -> None:
    # Those of torch's are told in test_torch.py.
    sound = tuple(p.id for p in PATTERNS if p.sound and not p.id.startswith("torch-"))
    report = ran(version, sound)
    assert len(report.results) >= 2 * len(sound)
    failed = [r.cell.id for r in report.results if r.outcome.kind is not OutcomeKind.OK]
    assert failed == []
    # Threads of Python and processes forked by it are told of as on the machine's own C library.
    assert any(len({record.tid for record in r.outcome.trace}) > 1 for r in report.results)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_second_runtime_does_not_know_the_streams_of_the_first(version: str) -> None:
    seen = told(ran(version, ("second-runtime",), ("none", "unify", "bind-loaded-runtime")))
    assert seen["second-runtime/none/driver"] == "error 709"
    for fix in ("unify", "bind-loaded-runtime"):
        assert seen[f"second-runtime/{fix}/driver"] == "ok"
        assert seen[f"second-runtime/{fix}/replay"] == "ok"
    # HIP 7 has no check in the calls that XSched makes: they return success on a foreign handle.
    silent = version.startswith("7")
    assert seen["second-runtime/none/replay"] == ("ok" if silent else "error 709")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("5.2", "crash"), ("5.7", "error 709"), ("6.4", "error 709"), ("7.2", "error 709")],
)
def test_an_event_destroyed_twice(version: str, expected: str) -> None:
    assert told(ran(version, ("event-destroyed-twice",)))["event-destroyed-twice/none/driver"] == (
        expected
    )


@pytest.mark.parametrize("version", ["5.7", "6.4", "7.2"])
def test_it_runs_on_the_c_library_that_it_came_with(version: str) -> None:
    target = target_of(version)
    entry = entries.by_version(version)
    assert entry is not None and entry.runtime and target.version.startswith(version)
    if target.loader is None:
        pytest.skip(f"this machine's C library is new enough for HIP {version}")
    assert (target.loader.path, target.loader.libc) == (entry.loader, entry.libc)
    report = ran(version, ("same-thread",))
    loaded = [each.path for r in report.results for each in r.outcome.runtimes.values()]
    assert loaded and all(path.startswith(entry.path) for path in loaded)


def test_one_matrix_over_all_of_them(tmp_path: Path) -> None:
    for version in VERSIONS:
        target_of(version)
    path = tmp_path / "matrix.json"
    options = [word for version in VERSIONS for word in ("--runtime", version)]
    shown = subprocess.run(
        [sys.executable, "-m", "xdiag", "matrix", *options, "--agent", "software", "-p",
         "same-thread,second-runtime", "-f", "none,unify", "-o", str(path)],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr, shown.stdout) == (0, "", "")
    merged = json.loads(path.read_text())
    versions = [run["target"]["version"] for run in merged["runs"]]
    assert [version[:3] for version in versions] == list(VERSIONS)
    assert {len(run["marks"]) for run in merged["runs"]} != {0}
    again = subprocess.run(
        [sys.executable, "-m", "xdiag", "merge", "--side-by-side", str(path)],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "150"},
    ).stdout  # fmt: skip
    assert any(line.split() == versions for line in again.splitlines())


def test_a_runtime_of_an_older_debian_on_a_newer_c_library() -> None:
    """5.2.3 wants an executable stack, which dlopen of glibc 2.41 and later gives to nobody."""
    from xdiag.runtimes import probe
    from xdiag.runtimes.agent import library

    old, new = target_of("5.2"), target_of("6.4")
    if new.loader is None:
        pytest.skip("this machine's C library is new enough for HIP 6.4: no other is used here")
    path = (str(library().parent), *old.library_path)
    from msgspec.structs import replace

    under = replace(new.loader, library_path=(*new.loader.library_path, *new.library_path[-1:]))
    refused = probe.ask(old.runtime, library_path=path, loader=under)
    assert "cannot enable executable stack" in refused.problem
    allowed = {"GLIBC_TUNABLES": "glibc.rtld.execstack=2", **old.environment}
    answer = probe.ask(old.runtime, library_path=path, environment=allowed, loader=under)
    assert (answer.problem, answer.devices) == ("", 2)
