"""Reading one library: right facts of good ones, one clear line about all others."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimes.conftest import compile_library
from xdiag.errors import CannotRun, Usage, XdiagError
from xdiag.runtimes.runtime_file import read_runtime

SOURCE = 'int puts(const char *); int hipInit(unsigned flags) { return (int)flags && puts(""); }'


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elf")
    return compile_library(folder / "libamdhip64.so.6", SOURCE, "-Wl,-rpath,$ORIGIN")


def test_facts_are_those_that_readelf_tells(library: Path) -> None:
    read = read_runtime(library)
    notes = subprocess.run(["readelf", "-n", library], capture_output=True, text=True, check=True)
    assert read.soname == "libamdhip64.so.6"
    assert f"Build ID: {read.build_id}\n" in notes.stdout
    assert read.needed == ("libc.so.6",)
    assert read.runpath == "$ORIGIN"
    assert (read.device, read.inode) == (library.stat().st_dev, library.stat().st_ino)


def test_a_library_without_section_headers_is_read_by_its_segments(
    library: Path, tmp_path: Path
) -> None:
    data = bytearray(library.read_bytes())
    data[0x28:0x30] = bytes(8)  # e_shoff
    data[0x3A:0x40] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    bare = tmp_path / "bare.so"
    bare.write_bytes(data)
    assert read_runtime(bare).build_id == read_runtime(library).build_id


def _patched(library: Path, place: int, value: bytes) -> bytes:
    data = bytearray(library.read_bytes())
    data[place : place + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (lambda _: b"", Usage, "an empty file, no library"),
        (lambda _: b"GROUP ( libamdhip64.so.6 )", Usage, "not an ELF file"),
        (lambda _: b"\x7fELF\x02", CannotRun, "damaged or truncated"),
        (lambda good: good.read_bytes()[:300], CannotRun, "damaged or truncated"),
        (lambda good: _patched(good, 4, b"\x01"), CannotRun, "a 32-bit library"),
        (lambda good: _patched(good, 5, b"\x02"), CannotRun, "the other byte order"),
        (lambda good: _patched(good, 18, b"\xf3\x00"), CannotRun, "a library for RISC-V"),
        (lambda good: _patched(good, 16, b"\x01\x00"), Usage, "but not a shared library"),
    ],
)
def test_each_wrong_file_has_its_own_line(
    library: Path, tmp_path: Path, content, kind: type[XdiagError], says: str
) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_bytes(content(library))
    with pytest.raises(kind, match=says) as caught:
        read_runtime(wrong)
    assert str(wrong) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_no_runtime(tmp_path: Path) -> None:
    other = compile_library(tmp_path / "libother.so", "int hipinit; extern int hipInit(unsigned);")
    with pytest.raises(Usage, match="no HIP runtime: it does not export hipInit"):
        read_runtime(other)


def test_importing_the_proof_symbol_is_not_exporting_it(tmp_path: Path) -> None:
    user = compile_library(
        tmp_path / "libuser.so", "int hipInit(unsigned); int use(void) { return hipInit(0); }"
    )
    with pytest.raises(Usage, match="does not export hipInit"):
        read_runtime(user)


def test_paths_that_are_no_files(library: Path, tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"no such file; did you mean libamdhip64\.so\.6\?"):
        read_runtime(library.parent / "libamdhip64.so.5")
    with pytest.raises(Usage, match=r"a directory, .* did you mean .*libamdhip64\.so\.6\?"):
        read_runtime(library.parent)
    with pytest.raises(Usage, match="no such file"):
        read_runtime(library / "below-a-file")
    with pytest.raises(Usage, match="not a path"):
        read_runtime("lib\0.so")
    with pytest.raises(Usage, match="not a path"):
        read_runtime(os.fsdecode(b"lib\xff.so"))
    with pytest.raises(CannotRun, match="File name too long"):
        read_runtime("x" * 5000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(Usage, match="not a regular file"):
        read_runtime(fifo)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(CannotRun, match="symbolic links"):
        read_runtime(loop)


def _fails_only_as_it_should(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with suppress(XdiagError):
        read_runtime(path)


_FUZZ = settings(
    max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_FUZZ
@given(st.binary(max_size=400), st.booleans())
def test_arbitrary_bytes(tmp_path: Path, data: bytes, headed: bool) -> None:
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" if headed else b""
    _fails_only_as_it_should(head + data, tmp_path / "any")


@_FUZZ
@given(st.data())
def test_mutated_libraries(library: Path, tmp_path: Path, data: st.DataObject) -> None:
    good = library.read_bytes()
    changed = bytearray(good[: data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))])
    # Most of what matters lies in the first page: headers, notes, hash and symbol tables.
    places = st.one_of(st.integers(0, 0x400), st.integers(0, len(good)))
    for place in data.draw(st.lists(places, max_size=8)):
        value = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)) | st.integers(0, 255))
        if place < len(changed):
            changed[place] = value
    _fails_only_as_it_should(bytes(changed), tmp_path / "mutated")


@_FUZZ
@given(st.data())
def test_mutated_dynamic_sections(library: Path, tmp_path: Path, data: st.DataObject) -> None:
    from elftools.elf.elffile import ELFFile

    with library.open("rb") as file:
        segments = ELFFile(file).iter_segments()
        start, size = next(
            (each.header.p_offset, each.header.p_filesz)
            for each in segments
            if each.header.p_type == "PT_DYNAMIC"
        )
    changed = bytearray(library.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = start + 8 * data.draw(st.integers(0, size // 8 - 1))
        value = data.draw(st.integers(0, 2**64 - 1) | st.integers(0, 0x4000) | st.just(0x6FFFFEF5))
        changed[place : place + 8] = value.to_bytes(8, "little")
    _fails_only_as_it_should(bytes(changed), tmp_path / "dynamic")
