"""The programs of docs/snippets, as readers use them: on AMD's real runtimes, one after another.

docs/generate.py puts them into the pages, and its --check says where a page shows something else.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdiag.api.handles import BAD
from xdiag.api.safe import questions
from xdiag.api.shipped import shipped
from xdiag.engine.environment import start_environment
from xdiag.errors import XdiagError
from xdiag.runtimes.choose import choose
from xdiag.runtimes.copies import copies

if TYPE_CHECKING:
    from xdiag.api.measured_data import Measured
    from xdiag.model import Target

DOCS = Path(__file__).parents[1] / "docs"
SNIPPETS = DOCS / "snippets"
#: Versions that the page speaks of beside the one that the tests use anyway.
NEWER = ("5.7", "6.4", "7.2")

#: What both programs answer on every version.
ANSWERS = {
    "live": "mine",
    "destroyed": "not mine",
    "memory of zeros": "not mine",
    "no memory at all": "not mine",
    "of another copy": "not mine",
    "the same, asked there": "mine",
    "owner of live": "first",
    "owner of foreign": "second",
    "owner of zeros": "nobody",
    "hipGetLastError": "0",
}
SPECIAL = ("NULL", "hipStreamLegacy", "hipStreamPerThread")
#: What each language adds: C has a number for constants, and shows a capture and a new stream.
MORE = {
    "c": {
        "live, in a capture": "mine",
        "destroyed, made anew": "mine",
        "cut to 32 bits": "not mine",
        **dict.fromkeys(SPECIAL, "of every copy"),
    },
    "python": dict.fromkeys(SPECIAL, "cannot tell"),
}
#: Rows that are left out where the heap is so low that nothing is cut, or no address came back.
MAY_LACK = {"cut to 32 bits", "destroyed, made anew"}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C program, built as its head says, with all warnings as errors."""
    program = tmp_path_factory.mktemp("snippets") / "whose_stream"
    command = ["cc", "-Wall", "-Wextra", "-Werror", str(SNIPPETS / "whose_stream.c"), "-ldl"]
    done = subprocess.run(
        [*command, "-o", str(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


def _program(language: str, built: Path) -> list[str]:
    return [str(built)] if language == "c" else [sys.executable, str(SNIPPETS / "whose_stream.py")]


def _run(target: Target, program: list[str], *files: str) -> subprocess.CompletedProcess[str]:
    """Run a program where this runtime loads, as xdiag's cells are run."""
    variables = start_environment({}, target, copies(target)).variables
    if target.loader is not None:
        path = [variables.get("LD_LIBRARY_PATH", ""), *target.loader.library_path]
        program = [target.loader.path, "--library-path", ":".join(path), *program]
    return subprocess.run(
        [*program, *files], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def _told(text: str) -> dict[str, str]:
    return {line[:22].strip(): line[23:] for line in text.splitlines()}


def _holds(language: str, built: Path, target: Target) -> None:
    paths = copies(target)
    done = _run(target, _program(language, built), paths.first, paths.copy)
    assert done.returncode == 0, done.stderr
    told, expected = _told(done.stdout), {**ANSWERS, **MORE[language]}
    if language == "python":
        told.pop("cut to 32 bits", None)
    lacking = MAY_LACK - told.keys()
    assert told == {kind: answer for kind, answer in expected.items() if kind not in lacking}


@pytest.mark.parametrize("language", ["c", "python"])
def test_it_answers_right_for_every_kind_of_handle(
    language: str, built: Path, real_target: Target
) -> None:
    _holds(language, built, real_target)


@pytest.mark.versions
@pytest.mark.parametrize("version", NEWER)
@pytest.mark.parametrize("language", ["c", "python"])
def test_it_answers_right_on_newer_versions(language: str, version: str, built: Path) -> None:
    try:
        target = choose(version, "software")
    except XdiagError as error:
        pytest.skip(f"HIP {version} is not here: {error}")
    _holds(language, built, target)


@pytest.mark.parametrize("language", ["c", "python"])
def test_without_a_second_copy_nothing_is_said_of_one(
    language: str, built: Path, real_target: Target
) -> None:
    done = _run(real_target, _program(language, built), real_target.runtime)
    assert done.returncode == 0, done.stderr
    told = _told(done.stdout)
    assert told["live"] == "mine"
    assert not [kind for kind in told if "another" in kind or "foreign" in kind]


def test_a_link_to_the_first_copy_is_no_second_one(
    built: Path, real_target: Target, tmp_path: Path
) -> None:
    link = tmp_path / Path(real_target.runtime).name
    link.symlink_to(real_target.runtime)
    done = _run(real_target, [str(built)], real_target.runtime, str(link))
    assert done.returncode == 3
    assert done.stderr == f"{link} is not a second copy: the loader gave the first one\n"


@pytest.mark.parametrize("language", ["c", "python"])
def test_a_library_without_the_call_is_not_guessed_at(
    language: str, built: Path, real_target: Target, tmp_path: Path
) -> None:
    other = tmp_path / "libother.so"
    source = "int hipInit(unsigned flags) { return (int)flags; }\n"
    source += "int hipStreamDestroy(void *s) { return !s; }\n"
    source += "int hipStreamCreateWithFlags(void **s, unsigned f) { *s = (void *)4096l; return f; }"
    source += "\nint hipGetLastError(void) { return 0; }\n"
    source += "int hipStreamBeginCapture(void *s, int m) { return !s || m; }\n"
    source += "int hipStreamEndCapture(void *s, void **g) { *g = s; return 0; }\n"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(other)],
        input=source, text=True, check=True,
    )  # fmt: skip
    done = _run(real_target, _program(language, built), str(other))
    assert done.returncode == 0, done.stderr
    told = _told(done.stdout)
    assert told["live"] == told["destroyed"] == "cannot tell"
    assert told["owner of live"] == "not found"


@pytest.mark.parametrize("language", ["c", "python"])
def test_a_file_that_is_no_library_is_one_line(
    language: str, built: Path, real_target: Target, tmp_path: Path
) -> None:
    text = tmp_path / "libamdhip64.so"
    text.write_text("no library")
    done = _run(real_target, _program(language, built), str(text))
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and str(text) in done.stderr


@pytest.mark.parametrize("language", ["c", "python"])
def test_the_page_shows_the_file(language: str) -> None:
    """Each part between [name] and [end] stands in the page as it is in the file."""
    file = SNIPPETS / {"c": "whose_stream.c", "python": "whose_stream.py"}[language]
    page = (DOCS / "whose-stream.md").read_text()
    parts = re.findall(r"^\S+ \[the \w+\].*?\n(.*?)^\S+ \[end\]", file.read_text(), re.M | re.S)
    assert len(parts) == 2
    for part in parts:
        assert part.strip("\n") in page


def test_it_is_c_of_1999() -> None:
    """Library authors have old compilers."""
    command = ["cc", "-std=gnu99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    done = subprocess.run(
        [*command, str(SNIPPETS / "whose_stream.c")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---- what the page says of other calls, held against the measured table ----


def test_it_is_the_best_question_and_the_only_one_that_every_version_has() -> None:
    found = questions(*shipped())
    everywhere = [each for each in found if all(_exports(table, each.call) for table in shipped())]
    assert [each.call for each in everywhere if each.tells] == ["StreamGetCaptureInfo_v2"]


@pytest.mark.parametrize("table", shipped(), ids=lambda table: table.label)
def test_the_codes_are_those_of_the_table(table: Measured) -> None:
    answers = table.calls["StreamGetCaptureInfo_v2"]
    refused = "1" if table.label == "5.2" else "709"
    bad = {handle: entry.answers for handle, entry in answers.items() if handle in BAD}
    assert len([asked for asked in bad.values() if asked]) > 5
    assert {code for asked in bad.values() for code in asked} == {refused}
    assert set(answers["live"].answers) == {"0"}


def _exports(table: Measured, call: str) -> bool:
    return any(entry.answers for entry in table.calls.get(call, {}).values())
