"""Core files: the same copies as in the process that left them, and no trust in what they say."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtimes.conftest import compile_library

from process import cores
from process.conftest import USES, Opener
from xdiag.errors import CannotRun, XdiagError
from xdiag.process import core
from xdiag.process.facts import ProcessFacts, Route
from xdiag.process.look import look

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


def _told(facts: ProcessFacts) -> list[tuple[str, str, str, int | None, tuple[Route, ...]]]:
    return [
        (copy.object.path, copy.object.soname, copy.object.build_id, copy.object.order, copy.routes)
        for copy in facts.copies
    ]


@pytest.fixture
def two(start: Start, runtime: Runtime, tmp_path: Path) -> list[str]:
    """What makes two copies: one needed, one opened."""
    needed = runtime("a/libamdhip64.so.6")
    user = compile_library(
        tmp_path / "a/libuser.so", USES % "it", str(needed), "-Wl,-rpath,$ORIGIN"
    )
    return [f"open {user}", f"open {runtime('b/libamdhip64.so.6')}"]


def test_the_kernels_core_tells_what_the_process_would(
    start: Start, program: Path, two: list[str], tmp_path: Path
) -> None:
    environment = {**os.environ, "XSCHED_HIP_LIB": "/x/libamdhip64.so"}
    path = cores.of_the_kernel(tmp_path / "cores", program, *two, env=environment)
    facts = core.look(str(path))
    alive = look(start(*two).pid)
    assert _told(facts) == _told(alive)
    assert len(facts.copies) == 2
    assert (facts.signal, facts.core, facts.name) == ("SIGABRT", str(path), "opener")
    assert facts.program == str(program) and facts.command == (str(program)[:79],)
    assert facts.user == os.geteuid() and facts.threads == 1
    assert facts.environment["XSCHED_HIP_LIB"] == "/x/libamdhip64.so"
    assert [each.path for each in facts.objects] == [each.path for each in alive.objects]


def test_a_core_made_from_outside_tells_what_the_process_does(
    start: Start, two: list[str], tmp_path: Path
) -> None:
    opener = start(*two)
    facts = core.look(str(cores.written(tmp_path / "core", opener.pid)))
    alive = look(opener.pid)
    assert _told(facts) == _told(alive)
    assert [each.object.address for each in facts.copies] == [
        each.object.address for each in alive.copies
    ]
    assert (facts.pid, facts.signal, facts.threads) == (opener.pid, "SIGSEGV", 1)
    assert {each.object.at_path for each in facts.copies} == {"same"}


def test_two_namespaces_in_a_core(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    real = runtime("a/libamdhip64.so.6")
    opener = start(f"open {real}", f"new {real}")
    facts = core.look(str(cores.written(tmp_path / "core", opener.pid)))
    assert [copy.object.path for copy in facts.copies] == [str(real)] * 2
    assert [copy.object.namespace for copy in facts.copies] == [
        copy.object.namespace for copy in look(opener.pid).copies
    ]


def test_the_notes_are_read_as_pyelftools_reads_them(
    start: Start, two: list[str], tmp_path: Path
) -> None:
    from elftools.elf.elffile import ELFFile

    path = cores.written(tmp_path / "core", start(*two).pid)
    with path.open("rb") as file:
        notes = {
            note["n_type"]: note["n_desc"]
            for segment in ELFFile(file).iter_segments()
            if segment.header.p_type == "PT_NOTE"
            for note in segment.iter_notes()
        }
    facts = core.look(str(path))
    files = notes["NT_FILE"]
    assert facts.mappings == files.num_map_entries > 10
    assert {os.fsdecode(name) for name in files.filename} >= {each.path for each in facts.objects}
    told = notes["NT_PRPSINFO"]
    assert facts.pid == told.pr_pid and os.fsencode(facts.name) == told.pr_fname.rstrip(b"\0")


def test_a_file_that_was_rebuilt_since(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    real = runtime("a/libamdhip64.so.6")
    path = cores.written(tmp_path / "core", start(f"open {real}").pid)
    was = core.look(str(path)).copies[0].object.build_id
    real.unlink()
    now = compile_library(real, "int hipInit(unsigned f) { return (int)f + 1; }")
    (copy,) = core.look(str(path)).copies
    assert copy.object.at_path == "changed" and copy.object.build_id == was
    assert "the file has another build id now" in copy.object.problem
    now.unlink()
    (copy,) = core.look(str(path)).copies
    assert copy.object.at_path == "gone" and copy.object.build_id == was


def test_a_renamed_runtime_in_a_core(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    real = runtime("plugin.so")
    (copy,) = core.look(
        str(cores.written(tmp_path / "core", start(f"open {real}").pid))
    ).copies  # fmt: skip
    assert copy.object.path == str(real)


def test_a_truncated_core_says_what_it_still_knows(
    start: Start, two: list[str], tmp_path: Path
) -> None:
    path = cores.written(tmp_path / "core", start(*two).pid)
    os.truncate(path, path.stat().st_size // 4)
    facts = core.look(str(path))
    assert len(facts.copies) == 2
    assert "the core file is truncated: some memory is missing" in facts.notes
    os.truncate(path, 100)
    with pytest.raises(CannotRun, match="a damaged or truncated core file"):
        core.look(str(path))


def test_what_is_no_core(program: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = tmp_path / "text"
    text.write_text("no core")
    small = tmp_path / "small"
    small.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(60))
    for path, says in (
        (tmp_path, "not a regular file"),
        (fifo, "not a regular file"),
        (tmp_path / "none", "neither the number of a process nor a core file that exists"),
        (program, "an ELF file, but no core file"),
        (text, "not a core file"),
        (small, "64 bits"),
        ("a\0b", "not a path"),
    ):
        with pytest.raises(XdiagError, match=says) as caught:
            core.look(str(path))
        assert "\n" not in str(caught.value)


def test_sixty_thousand_mappings(tmp_path: Path, built: Path) -> None:
    count = 60_000
    files = [(place << 13, (place << 13) + 4096, 0, str(built)) for place in range(1, count)]
    segments = [(start, end, 4 + place % 2, b"") for place, (start, end, _, _) in enumerate(files)]
    note = cores.note(0x46494C45, cores.file_note(files))
    path = cores.assemble(tmp_path / "core", segments, note)
    begun = time.monotonic()
    facts = core.look(str(path))
    assert time.monotonic() - begun < 2
    assert facts.mappings == count - 1
    # So often no file was ever loaded; some are shown.
    assert len(facts.copies) == 64 and "more libraries are mapped than are looked at" in facts.notes


@pytest.mark.parametrize("count", [0, 0xFFFF, 0x10000])
def test_a_core_that_lies_about_its_counts(tmp_path: Path, count: int) -> None:
    path = tmp_path / "core"
    note = cores.note(0x46494C45, struct.pack("=QQ", 1 << 62, 1 << 62) + b"\xff" * 1000)
    cores.assemble(path, [(0, 4096, 5, b"")] * 3, note)
    data = bytearray(path.read_bytes())
    struct.pack_into("=H", data, 56, min(count, 0xFFFF))
    if count == 0x10000:  # PN_XNUM: the count is in section 0
        struct.pack_into("=Q", data, 40, len(data))
        data += struct.pack("=44xI16x", 0xFFFF_FFFF)
    path.write_bytes(data)
    os.truncate(path, 1 << 34)
    begun = time.monotonic()
    with suppress(XdiagError):
        core.look(str(path))
    assert time.monotonic() - begun < 2


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, program: Path, built: Path) -> bytes:
    """A small core: everything but memory that no test of this kind needs."""
    folder = tmp_path_factory.mktemp("good")
    opener = Opener([str(program)])
    opener.tell(f"open {shutil.copy(built, folder)}")
    path = cores.written(folder / "core", opener.pid)
    opener.end()
    return path.read_bytes()


@settings(
    max_examples=150, deadline=4000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_cores(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    changed = bytearray(good)
    # Headers and notes come first; what lies behind is memory, with the loader's list in it.
    places = st.integers(0, 0x100) | st.integers(0, 0x4000) | st.integers(0, len(good) - 1)
    for place in data.draw(st.lists(places, max_size=8)):
        changed[place] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
    path = tmp_path / "core"
    path.write_bytes(changed[: data.draw(st.just(len(good)) | st.integers(0, len(good)))])
    with suppress(XdiagError):
        core.look(str(path))
