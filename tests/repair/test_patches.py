"""Source patches: well-formed, ours, and doing what their messages say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from runtimes.conftest import compile_library

from xdiag.model import Target
from xdiag.repair.patches import PATCHES, Patch

HERE = Path(__file__).parent
XSCHED = next(patch for patch in PATCHES if patch.id == "xsched")
#: A git checkout of XSched at the patch's revision, and libraries built of the patched tree.
SOURCE = os.environ.get("XDIAG_XSCHED_SOURCE")
LIBRARIES = os.environ.get("XDIAG_XSCHED_PATCHED_LIBRARIES")
#: XSched's results (include/xsched/types.h).
SUCCESS, INVALID_VALUE, NOT_SUPPORTED = 0, 2, 5


class Hunk(NamedTuple):
    """Where it starts in the old file, and its lines with their first characters."""

    start: int
    lines: list[str]


def _hunks(text: str) -> dict[str, list[Hunk]]:
    """The hunks of each file; fails on anything that is not a unified diff of git's."""
    files: dict[str, list[Hunk]] = {}
    lines = iter(text[text.index("\ndiff --git ") + 1 :].splitlines())
    for line in lines:
        if line.startswith("diff --git "):
            match = re.fullmatch(r"diff --git a/(\S+) b/(\S+)", line)
            assert match and match[1] == match[2]
            hunks = files.setdefault(match[1], [])
        elif line.startswith("@@ "):
            match = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*", line)
            assert match
            old, new = int(match[2] or 1), int(match[4] or 1)
            body = []
            while old or new:
                body.append(next(lines))
                assert body[-1][:1] in ("+", "-", " ")
                old -= body[-1][0] != "+"
                new -= body[-1][0] != "-"
            assert old == 0 and new == 0, line
            grown = sum(
                sum(each[0] == "+" for each in hunk.lines)
                - sum(each[0] == "-" for each in hunk.lines)
                for hunk in hunks
            )
            if int(match[1]):
                assert int(match[3]) == int(match[1]) + grown, line
            hunks.append(Hunk(int(match[1]), body))
        else:
            assert re.match(r"index |new file mode |--- (a/|/dev/null)|\+\+\+ b/", line), line
    return files


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.id)
def test_is_a_record_with_a_full_revision(patch: Patch) -> None:
    assert msgspec.json.decode(msgspec.json.encode(patch), type=Patch) == patch
    assert re.fullmatch("[0-9a-f]{40}", patch.against.revision)
    assert patch.against.repository.startswith("https://")


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.id)
def test_has_a_message_and_a_diffstat_that_agrees_with_its_hunks(patch: Patch) -> None:
    text = patch.text()
    message, stat = text[: text.index("\ndiff --git ")].split("\n---\n")
    head, _, body = message.partition("\n\n")
    names = [line.split(":")[0] for line in head.splitlines()[1:] if line[0] != " "]
    assert re.match(r"From [0-9a-f]{40} Mon Sep 17 00:00:00 2001\n", head)
    assert names == ["From", "Date", "Subject"]
    assert all(len(line) <= 75 for line in body.splitlines())
    for word in ("709", "What fails", "Why", "How to reproduce", "What this does not do"):
        assert word in body, word
    lines = [line for hunks in _hunks(text).values() for hunk in hunks for line in hunk.lines]
    told = re.search(r"(\d+) files changed, (\d+) insertions\(\+\), (\d+) deletions\(-\)", stat)
    assert told
    assert [int(each) for each in told.groups()] == [
        len(_hunks(text)),
        sum(line[0] == "+" for line in lines),
        sum(line[0] == "-" for line in lines),
    ]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.id)
def test_adds_clean_lines_and_carries_little_that_is_not_ours(patch: Patch) -> None:
    text = patch.text()
    assert text.isascii() and text.endswith("\n") and "\r" not in text
    hunks = [hunk for hunks in _hunks(text).values() for hunk in hunks]
    for hunk in hunks:
        for line in hunk.lines:
            if line[0] == "+":
                assert line == line.rstrip() and "\t" not in line and len(line) <= 101, line
        kinds = "".join(line[0] for line in hunk.lines)
        assert not re.match(r" {2}|.* {2}$", kinds), "one line of context is enough"
    theirs = sum(line[0] != "+" for hunk in hunks for line in hunk.lines)
    assert theirs < 50


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.id)
def test_git_applies_it_to_a_file_with_the_lines_it_names(patch: Patch, tmp_path: Path) -> None:
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for name, hunks in _hunks(patch.text()).items():
        before: list[str] = []
        for hunk in hunks:
            old = [line[1:] for line in hunk.lines if line[0] != "+"]
            before += [f"line {number}" for number in range(len(before) + 1, hunk.start)] + old
        if before:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join([*before, "the end", ""]))
    _git("init", "-q", ".", cwd=tmp_path)
    _git("apply", "--verbose", "-", cwd=tmp_path, text=patch.text())
    for name, hunks in _hunks(patch.text()).items():
        after = (tmp_path / name).read_text()
        for hunk in hunks:
            assert "\n".join(line[1:] for line in hunk.lines if line[0] != "-") in after


def test_applies_to_the_public_source(tmp_path: Path) -> None:
    if not SOURCE:
        pytest.skip("XDIAG_XSCHED_SOURCE names no git checkout of XSched")
    revision = _git("rev-parse", "HEAD", cwd=SOURCE).strip()
    file = tmp_path / "xsched.patch"
    file.write_text(XSCHED.text())
    _git("apply", "--check", str(file), cwd=SOURCE)
    if revision != XSCHED.against.revision:
        pytest.skip(f"it applies, but to {revision}: raise the patch's revision")


def _git(*arguments: str, cwd: str | Path, text: str | None = None) -> str:
    # Without the machine's and the user's settings: core.whitespace alone changes what applies.
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, input=text, env=environ, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- the search for the loaded runtime, compiled by itself -------------------------------------

#: What the patch's runtime.h uses of XSched, in the least words: the interface, not the source.
_USED = {
    "utils/log.h": """
        #include <cstdio>
        #include <cstdlib>
        #define XWARN(format, ...) \\
            fprintf(stderr, "warning: " format "\\n" __VA_OPT__(,) __VA_ARGS__)
        #define XDEBG(format, ...)
    """,
    "utils/lib.h": """
        #include <string>
        #include <vector>
        #include <unistd.h>
        inline std::string GetEnv(const std::string &name)
        { const char *value = getenv(name.c_str()); return value ? value : ""; }
        inline bool FileExists(const std::string &path) { return access(path.c_str(), F_OK) == 0; }
        inline std::string FindLibrary(const std::string &variable,
            const std::vector<std::string> &, const std::vector<std::string> &)
        { return FileExists(GetEnv(variable)) ? GetEnv(variable) : GetEnv("ON_DISK"); }
    """,
    "utils/xassert.h": """
        #define XASSERT(good, format, ...) do { if (good) break; \\
            fprintf(stderr, "failed: " format "\\n" __VA_OPT__(,) __VA_ARGS__); exit(1); } while (0)
    """,
    "utils/symbol.h": "#define XSCHED_RTLD_FLAGS (RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)\n",
    "protocol/def.h": '#define XSCHED_HIP_LIB_ENV_NAME "XSCHED_HIP_LIB"\n',
}
_RUNTIME_H = "platforms/hip/hal/include/xsched/hip/hal/runtime.h"


class Search:
    """The compiled search, and libraries to search among."""

    def __init__(self, folder: Path) -> None:
        include = folder / "include/xsched"
        for name, text in _USED.items():
            self._write(include / name, f"#pragma once\n{text}")
        (hunk,) = _hunks(XSCHED.text())[_RUNTIME_H]
        self._write(
            include / "hip/hal/runtime.h", "\n".join(line[1:] for line in hunk.lines) + "\n"
        )
        self.program = folder / "search"
        # Warnings are errors in XSched's own build as well.
        command = ["c++", "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{folder}/include"]
        command += [str(HERE / "link_map.cpp"), "-o", str(self.program), "-ldl"]
        subprocess.run(command, check=True, timeout=60)
        self.a = self._library(folder / "a/libamdhip64.so.6", "libamdhip64.so.6")
        self.b = self._library(folder / "b/libamdhip64.so.6", "libamdhip64.so.6")
        self.without_soname = self._library(folder / "c/libamdhip64.so.7.2", "")
        self.renamed = self._library(folder / "d/hip-runtime.so", "libamdhip64.so.7")
        self.shim = self._library(folder / "lib/libshimhip.so", "libshimhip.so")
        self.shim_link = folder / "lib/libamdhip64.so"
        self.shim_link.symlink_to(self.shim)
        self.link = folder / "lib/libamdhip64.so.6"
        self.link.symlink_to(self.a)
        self.others = [
            self._library(folder / "e" / name, name)
            for name in ("libamdhip64.so6", "libamdhip64.so.6x", "libamdhip64_extra.so.6")
        ]

    def run(self, *opened: Path, **environ: object) -> tuple[list[str], str]:
        """Its lines, and what it warned about."""
        done = subprocess.run(
            [self.program, *opened], env={name: str(value) for name, value in environ.items()},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    def _library(self, path: Path, soname: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        return compile_library(path, "int one;", *([f"-Wl,-soname,{soname}"] if soname else []))

    def _write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler to compile the patch's search with")
    return Search(tmp_path_factory.mktemp("search"))


def test_the_loaded_runtime_is_taken_and_nothing_is_loaded(search: Search) -> None:
    for loaded in (search.a, search.without_soname, search.renamed):
        lines, warned = search.run(loaded, ON_DISK=search.b)
        assert lines == [f"loaded {loaded}", f"taken {loaded}", "opened 0"]
        assert warned == ""


def test_the_file_search_is_left_where_nothing_is_loaded(search: Search) -> None:
    lines, warned = search.run(*search.others, ON_DISK=search.b)
    assert (lines, warned) == ([f"taken {search.b}", "opened 1"], "")
    lines, warned = search.run(XSCHED_HIP_LIB=search.a, ON_DISK=search.b)
    assert (lines, warned) == ([f"taken {search.a}", "opened 1"], "")


def test_the_shim_is_never_taken(search: Search) -> None:
    lines, warned = search.run(search.shim_link, ON_DISK=search.b)
    assert (lines, warned) == ([f"taken {search.b}", "opened 1"], "")
    lines, warned = search.run(search.shim_link, search.a, ON_DISK=search.b)
    assert (lines, warned) == ([f"loaded {search.a}", f"taken {search.a}", "opened 0"], "")


def test_of_two_the_first_loaded_is_taken_and_both_are_named(search: Search) -> None:
    # Orders both ways: one of them is not the order of addresses.
    for first, second in ((search.a, search.renamed), (search.renamed, search.a)):
        lines, warned = search.run(first, second)
        assert lines == [f"loaded {first}", f"loaded {second}", f"taken {first}", "opened 0"]
        assert warned == (
            f"warning: 2 HIP runtimes are loaded ({first}, {second}), each knows only its own"
            f" streams, XSched uses {first}\n"
        )


def test_the_variable_comes_first_and_is_held_against_what_is_loaded(search: Search) -> None:
    for same in (search.a, search.link):
        lines, warned = search.run(search.a, XSCHED_HIP_LIB=same)
        assert (lines[1:], warned) == ([f"taken {search.a}", "opened 0"], "")
    lines, warned = search.run(search.a, XSCHED_HIP_LIB=search.b)
    assert lines[1:] == [f"taken {search.b}", "opened 1"]
    assert len(warned.splitlines()) == 1
    assert f"XSCHED_HIP_LIB = {search.b} is not the HIP runtime" in warned
    assert f"already loaded, {search.a}," in warned
    lines, warned = search.run(search.a, search.renamed, XSCHED_HIP_LIB=search.renamed)
    assert lines[2:] == [f"taken {search.renamed}", "opened 0"]
    assert f"XSched uses {search.renamed}" in warned


def test_a_variable_that_leads_nowhere_is_told_and_left_aside(search: Search) -> None:
    lines, warned = search.run(search.a, XSCHED_HIP_LIB="/nowhere/libamdhip64.so")
    assert lines[1:] == [f"taken {search.a}", "opened 0"]
    assert warned == (
        "warning: lib set by env XSCHED_HIP_LIB = /nowhere/libamdhip64.so not found, use the one"
        f" already loaded, {search.a}\n"
    )


# ---- the patched HAL over AMD's real runtime ---------------------------------------------------


class Queues:
    """XSched's patched libraries, and two copies of the real runtime."""

    def __init__(self, folder: Path, target: Target) -> None:
        assert LIBRARIES
        self.libraries = Path(LIBRARIES)
        self.target = target
        runtime = Path(target.runtime).resolve()
        self.a, self.b = (folder / each / target.soname for each in "ab")
        for copy in (self.a, self.b):
            copy.parent.mkdir()
            shutil.copy(runtime, copy)

    def run(self, what: str, *opened: Path, **environ: object) -> tuple[dict, str]:
        """What the driver tells, and stderr; fails where the process did not live to the end."""
        path = ":".join([str(self.libraries), *self.target.library_path])
        done = subprocess.run(
            [sys.executable, HERE / "queue_driver.py", what, self.libraries, *opened],
            env={"LD_LIBRARY_PATH": path, **self.target.environment,
                 **{name: str(value) for name, value in environ.items()}},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    def copies(self, told: dict) -> list[Path]:
        return [copy for copy in (self.a, self.b) if copy.stat().st_ino in told["inodes"]]


@pytest.fixture(scope="module")
def queues(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Queues:
    if not LIBRARIES:
        pytest.skip("XDIAG_XSCHED_PATCHED_LIBRARIES names no folder with patched libraries")
    return Queues(tmp_path_factory.mktemp("queues"), request.getfixturevalue("real_target"))


LIVED = {"create": SUCCESS, "later": [0] * 6, "device": [0]}


def _queue(told: dict) -> dict:
    return {name: value for name, value in told.items() if name != "inodes"}


def test_a_stream_of_the_loaded_runtime_makes_a_queue_that_works(queues: Queues) -> None:
    for environ in ({}, {"XSCHED_HIP_LIB": queues.a}, {"XSCHED_HIP_LIB": "/nowhere"}):
        told, warned = queues.run("live", queues.a, **environ)
        assert _queue(told) == LIVED
        assert queues.copies(told) == [queues.a]
        assert ("WARN" in warned) == (environ.get("XSCHED_HIP_LIB") == "/nowhere")


def test_a_stream_of_another_runtime_is_refused_and_the_process_lives(queues: Queues) -> None:
    told, warned = queues.run("live", queues.a, XSCHED_HIP_LIB=queues.b)
    assert _queue(told) == {"create": INVALID_VALUE}
    assert queues.copies(told) == [queues.a, queues.b]
    assert f"is not a live stream of {queues.b}" in warned
    assert f"2 HIP runtimes are loaded ({queues.a}, {queues.b})" in warned


@pytest.mark.parametrize("what", ["destroyed", "truncated", "garbage", "no-stream"])
def test_a_bad_handle_is_refused_and_the_process_lives(queues: Queues, what: str) -> None:
    told, warned = queues.run(what, queues.a)
    assert _queue(told) == {"create": INVALID_VALUE}
    assert f"is not a live stream of {queues.a}, hip error" in warned


def test_the_default_stream_is_not_supported_by_any_of_its_names(queues: Queues) -> None:
    for what in ("null", "legacy"):
        told, warned = queues.run(what, queues.a)
        assert _queue(told) == {"create": NOT_SUPPORTED}
        assert "does not support default stream" in warned


def test_the_stream_of_the_thread_is_taken_as_before(queues: Queues) -> None:
    assert _queue(queues.run("per-thread", queues.a)[0]) == LIVED


def test_of_two_loaded_runtimes_the_first_is_used_with_a_warning(queues: Queues) -> None:
    told, warned = queues.run("two", queues.a, queues.b)
    assert _queue(told) == {**LIVED, "other": INVALID_VALUE}
    assert f"({queues.a}, {queues.b}), each knows only its own streams" in warned
    assert f"XSched uses {queues.a}" in warned


def test_the_worker_runs_on_the_device_of_the_stream(queues: Queues) -> None:
    if queues.target.devices < 2:
        pytest.skip("one device only")
    assert _queue(queues.run("other-device", queues.a)[0]) == {**LIVED, "device": [1]}


def test_the_real_shim_is_not_taken_for_the_runtime(queues: Queues, tmp_path: Path) -> None:
    shim = queues.libraries / "libshimhip.so"
    if not shim.is_file():
        pytest.skip("no libshimhip.so among the patched libraries")
    link = tmp_path / "libamdhip64.so"
    link.symlink_to(shim)
    told, _ = queues.run("after-shim", link, queues.a)
    assert _queue(told) == LIVED
    assert queues.copies(told) == [queues.a]
