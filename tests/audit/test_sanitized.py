"""The audit library's sources as an ordinary program, under sanitizers; damaged libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes.conftest import compile_library
from support import build_fake

from audit.scene import HERE, STUB
from xdiag.recording import create
from xdiag.recording.read import read

SOURCES = HERE.parents[1] / "cffi_build"
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
#: Sizes of the record, and what it says afterwards of threads and processes.
PARTS: dict[str, dict[str, int]] = {
    "threads": {},
    "reuse": {"threads": 8, "recent": 64},
    "forks": {"threads": 100},
    "signals": {"recent": 64},
    "objects": {"events": 100_000},
    "requests": {},
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """``compiled(program, sanitizer)``: the program, with the sources of the audit library."""
    folder = tmp_path_factory.mktemp("sanitized")

    def compile_with(name: str, sanitizer: str) -> Path:
        output = folder / f"{name}-{sanitizer}"
        if output.exists():
            return output
        flags = SANITIZERS[sanitizer]
        probe = folder / "probe.c"
        probe.write_text("int main(void) { return 0; }\n")
        built = subprocess.run(
            ["cc", *flags, str(probe), "-o", f"{output}-probe"], capture_output=True, check=False
        )
        if built.returncode or subprocess.run([f"{output}-probe"], check=False).returncode:
            pytest.skip(f"this compiler has no {sanitizer} sanitizer")
        audit = SOURCES / "audit"
        sources = sorted(set(audit.glob("*.c")) - {audit / "audit.c"})
        if name != "hammer":
            sources = [audit / "elf_file.c"]
        command = [
            "cc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", *flags,
            f"-I{SOURCES}", f"-I{audit}", HERE / f"{name}.c", *sources, "-o", output, "-ldl",
        ]  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return output

    return compile_with


@pytest.fixture(scope="module")
def libraries(fake_library: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runtimes, with symbol versions and without; the last is a library that needs some."""
    folder = tmp_path_factory.mktemp("libraries")
    script = folder / "versions.map"
    script.write_text("hip_4.2 { global: hip*; local: *; };\nhip_5.3 { global: hipFree; } hip_4.2;")
    (folder / "versioned").mkdir()
    versioned = build_fake(folder / "versioned", f"-Wl,--version-script={script}")
    (folder / "link").mkdir()
    link = folder / "link" / "libother.so"
    link.symlink_to(fake_library)
    other = compile_library(folder / "libother.so", STUB)
    user = compile_library(
        folder / "libuser.so", (HERE / "user.c").read_text(), str(versioned),
        "-Wl,--allow-shlib-undefined",
    )  # fmt: skip
    return [fake_library, versioned, link, other, user]


def _checked(command: list[object], **extra: str) -> str:
    # TSan finds no memory where addresses are much randomized (gcc 12).
    setarch = shutil.which("setarch")
    before = [setarch, "--addr-no-randomize"] if setarch else []
    environ = {**os.environ, **extra}
    done = subprocess.run(
        [*before, *map(str, command)], env=environ, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_hammer(
    compiled: Callable[[str, str], Path], libraries: list[Path], tmp_path: Path, sanitizer: str,
    part: str,
) -> None:  # fmt: skip
    program = compiled("hammer", sanitizer)
    path = tmp_path / "record"
    create.create(path, command=["hammer"], **PARTS[part]).close()
    _checked([program, path, part, *libraries], TSAN_OPTIONS="die_after_fork=0")
    with read(path) as recording:
        facts = recording.facts
    assert facts.lost.torn == 0
    assert [process.forked for process in facts.processes].count(False) == 1
    if part == "forks":
        assert len(facts.processes) == 51
    if part == "requests":
        answers = {request.answer for request in facts.processes[0].requests}
        assert answers == {"as asked", "same file", "redirected", "lacks versions"}


def test_damaged_libraries(
    compiled: Callable[[str, str], Path], libraries: list[Path], request: pytest.FixtureRequest
) -> None:
    program = compiled("damaged_elf", "address")
    told = _checked([program, int.from_bytes(os.urandom(4), "little"), 4, *libraries])
    read_, understood, named, defining, missing, slowest = map(float, told.split())
    assert read_ > 20_000
    # The damage leaves enough for every part of the reader to be reached.
    assert min(understood, named, defining, missing) > 100, told
    assert slowest < 2
