"""Test cases in the form of hip-tests: built against small headers of ours, linked to a fake HIP.

AMD's own headers and Catch2 are not here; what can be shown is that the text is C++ of their form,
and that its checks pass and fail where they should.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import cells_for

from xdiag import emit
from xdiag.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.engine.messages import Paths
    from xdiag.model import Result

STUB = Path(__file__).parent / "hip_stub"


def _build(text: str, folder: Path, library: str) -> Path:
    source = folder / "test.cc"
    source.write_text(text)
    program = folder / "test"
    command = [
        "g++", "-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type",
        f"-I{STUB}", str(source), library, f"-Wl,-rpath,{Path(library).parent}", "-o", str(program),
        "-ldl", "-lpthread",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return program


def _run(program: Path, paths: Paths, fault: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "COPY": paths.copy,
        "LINK": paths.link,
        "SONAME": paths.soname,
        "NAME": paths.name,
        "FAKE_FAULT": fault,
    }
    return subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("cell", "failures"),
    [
        ("cross-thread/none/driver", 0),
        ("creator-exited/none/replay", 0),
        ("concurrent-use/set-device/driver", 0),
        ("second-runtime/bind-loaded-runtime/driver", 0),
        ("reopened-runtime/none/replay", 0),
        # Stops where XSched would; asks all questions.
        ("second-runtime/none/replay", 1),
        ("foreign-context/none/replay", 1),
    ],
)
def test_a_test_case_fails_where_the_handle_is_refused(
    fake_paths: Paths, tmp_path: Path, cell: str, failures: int
) -> None:
    program = _build(emit.write(cells_for(cell)[0], "hip-tests"), tmp_path, fake_paths.first)
    done = _run(program, fake_paths)
    assert f": {failures} failed" in done.stdout, done.stdout
    assert done.returncode == bool(failures)
    assert (709 if failures else 0) == 0 or "code 709" in done.stdout


def test_all_questions_are_asked_and_none_that_follows_a_refused_handle(
    fake_paths: Paths, tmp_path: Path
) -> None:
    text = emit.write(cells_for("destroyed-stream/none/driver")[0], "hip-tests")
    done = _run(_build(text, tmp_path, fake_paths.first), fake_paths)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    asked = text.count("refused |= ASK(")
    # What the fake does not look up: the event's own wait.
    assert len(failed) == asked and asked > 10
    assert not any("hipMemsetAsync" in line for line in failed)


def test_with_a_result_the_test_expects_what_was_seen(
    run_fake: Callable[..., dict[str, Result]], fake_paths: Paths, tmp_path: Path
) -> None:
    (cell,) = cells_for("second-runtime/none/replay")
    result = run_fake([cell])[cell.id]
    text = emit.write(cell, "hip-tests", result=result)
    assert "HIP_CHECK_ERROR(" in text and "hipErrorContextIsDestroyed);" in text
    assert "Seen: hipStreamGetFlags returned 709 hipErrorContextIsDestroyed." in text
    program = _build(text, tmp_path, fake_paths.first)
    assert _run(program, fake_paths).returncode == 0
    # And fails where the runtime answers otherwise.
    assert _run(program, fake_paths, fault="hipInit=exit").returncode == 1


def test_a_variable_that_is_not_set_fails_the_test(fake_paths: Paths, tmp_path: Path) -> None:
    text = emit.write(cells_for("second-runtime/none/replay")[0], "hip-tests")
    program = _build(text, tmp_path, fake_paths.first)
    environment = {name: value for name, value in os.environ.items() if name != "COPY"}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "what COPY is" in done.stdout


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("library-loaded-first/none/replay", "opens another copy before"),
        ("fork-before-init/none/replay", "forks"),
        ("second-runtime-by-name/none/driver", "led to the copy"),
        ("same-thread/native-thread/driver", "no Python thread takes part"),
    ],
)
def test_a_story_that_a_test_case_cannot_tell_is_refused(cell: str, reason: str) -> None:
    with pytest.raises(Usage, match=reason):
        emit.write(cells_for(cell)[0], "hip-tests")


@pytest.mark.slow
def test_every_story_that_is_written_compiles(fake_paths: Paths, tmp_path: Path) -> None:
    """One test case of each kind of story, and each fix once: syntax only."""
    seen: set[str] = set()
    compiled = 0
    for cell in cells_for():
        news = {cell.pattern, cell.fix} - seen
        if not news or cell.consumer != "driver":
            continue
        try:
            text = emit.write(cell, "hip-tests")
        except Usage:
            continue
        seen |= news
        source = tmp_path / f"{compiled}.cc"
        source.write_text(text)
        compiled += 1
    sources = [str(tmp_path / f"{n}.cc") for n in range(compiled)]
    assert compiled > 20
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{STUB}"]
    done = subprocess.run(
        [*command, "-Wno-cast-function-type", *sources], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:3000]
