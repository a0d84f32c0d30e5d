"""The ELF reader: right facts, held against pyelftools, and bounded cost on hostile files."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtimes.conftest import compile_library

from discover.conftest import HERE, HIP, bounded, copied, put
from xdiag.discover import elf
from xdiag.discover.elf import BadElf

FUZZ = settings(
    max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
#: Of the System V ABI: offsets in the header of a 64-bit file.
E_PHOFF, E_PHENTSIZE, E_PHNUM = 0x20, 0x36, 0x38


def _system_libraries() -> list[Path]:
    """Some libraries of this machine, each real file once; from a path that every machine has."""
    with open("/proc/self/maps") as maps:
        mapped = {line.split(None, 5)[5].strip() for line in maps if ".so" in line}
    folders = {Path(path).resolve().parent for path in mapped if path.startswith("/")}
    files = {each.resolve() for folder in folders for each in folder.glob("*.so*")}
    return sorted(each for each in files if each.is_file())[::3][:80]


def test_facts_are_those_of_pyelftools() -> None:
    compared = 0
    for path in _system_libraries():
        try:
            with path.open("rb") as file:
                dynamic = next(
                    each for each in ELFFile(file).iter_segments()
                    if isinstance(each, DynamicSegment)
                )  # fmt: skip
                tags = list(dynamic.iter_tags())
                notes = [
                    note
                    for segment in ELFFile(file).iter_segments("PT_NOTE")
                    for note in segment.iter_notes()
                ]
        except (ELFError, StopIteration):
            continue  # a linker script, or another machine's
        facts = elf.read(str(path), HERE)
        assert list(facts.needed) == [t.needed for t in tags if t.entry.d_tag == "DT_NEEDED"], path
        assert facts.soname == next((t.soname for t in tags if t.entry.d_tag == "DT_SONAME"), ""), (
            path
        )
        assert facts.runpath == next((t.runpath for t in tags if t.entry.d_tag == "DT_RUNPATH"), "")
        assert facts.rpath == next((t.rpath for t in tags if t.entry.d_tag == "DT_RPATH"), "")
        built = [note.n_desc for note in notes if note.n_type == "NT_GNU_BUILD_ID"]
        assert facts.build_id == (built[0] if built else ""), path
        assert (facts.device, facts.inode) == (path.stat().st_dev, path.stat().st_ino)
        compared += 1
    assert compared > 3


def test_exports_are_those_of_pyelftools() -> None:
    compared = 0
    for path in _system_libraries()[:12]:
        try:
            with path.open("rb") as file:
                dynamic = next(
                    each for each in ELFFile(file).iter_segments()
                    if isinstance(each, DynamicSegment)
                )  # fmt: skip
                symbols = list(dynamic.iter_symbols())
        except (ELFError, StopIteration):
            continue
        for symbol in symbols[:: max(1, len(symbols) // 40)]:
            if symbol.name:
                others = [each for each in symbols if each.name == symbol.name]
                defined = any(
                    each.entry.st_shndx != "SHN_UNDEF"
                    and each.entry.st_info.bind != "STB_LOCAL"
                    for each in others
                )  # fmt: skip
                assert elf.exports(str(path), symbol.name, HERE) == defined, (path, symbol.name)
                compared += 1
        assert not elf.exports(str(path), "no_such_symbol_anywhere", HERE)
    assert compared > 20


@pytest.mark.parametrize("style", ["gnu", "sysv", "both"])
def test_every_style_of_hash_table_is_searched(tmp_path: Path, style: str) -> None:
    source = HIP + "".join(f"int f{number}(void) {{ return {number}; }}" for number in range(60))
    library = str(compile_library(tmp_path / "lib.so", source, f"-Wl,--hash-style={style}"))
    assert all(elf.exports(library, f"f{number}", HERE) for number in range(60))
    assert elf.exports(library, "hipInit", HERE)
    assert not elf.exports(library, "f60", HERE)
    assert not elf.exports(library, "", HERE)


def test_rpath_runpath_and_flags(tmp_path: Path) -> None:
    old = compile_library(tmp_path / "old.so", HIP, "-Wl,--disable-new-dtags,-rpath,/a:$ORIGIN/b")
    new = compile_library(tmp_path / "new.so", HIP, "-Wl,--enable-new-dtags,-rpath,/c")
    bare = compile_library(tmp_path / "bare.so", HIP, "-Wl,-z,nodefaultlib")
    assert (elf.read(str(old), HERE).rpath, elf.read(str(old), HERE).runpath) == (
        "/a:$ORIGIN/b", "",
    )  # fmt: skip
    assert (elf.read(str(new), HERE).rpath, elf.read(str(new), HERE).runpath) == ("", "/c")
    assert elf.read(str(bare), HERE).nodeflib
    assert not elf.read(str(new), HERE).nodeflib
    program = elf.read("/proc/self/exe", HERE)
    assert program.executable
    assert program.interpreter.startswith("/lib")


# ---- constants ---------------------------------------------------------------------------------


def test_constants_are_found_with_what_is_around_them(tmp_path: Path) -> None:
    source = """
    const char *names[] = { "before", "/opt/needle/one", "needle" };
    char changed[] = "a needle that can be written to";
    const char *get(int n) { return names[n]; }
    """
    for options in ((), ("-Wl,-z,noseparate-code",)):
        library = compile_library(tmp_path / "lib.so", source, *options)
        places, whole = elf.constants(str(library), b"needle", HERE, 1 << 20)
        assert whole
        assert any(b"\0/opt/needle/one\0needle\0" in place for place in places), options
        assert any(b"a needle that can be" in place for place in places)
        assert elf.constants(str(library), b"no such word", HERE, 1 << 20) == ([], True)
        places, whole = elf.constants(str(library), b"needle", HERE, 16)
        assert not whole


def test_a_constant_across_the_border_of_two_blocks_is_found(tmp_path: Path) -> None:
    source = "const char filled[3 << 19] = { 1 }; const char *get(void) { return filled; }"
    library = compile_library(tmp_path / "lib.so", source)
    data = library.read_bytes()
    # Blocks begin where the segment does.
    with library.open("rb") as file:
        segment = next(
            each.header for each in ELFFile(file).iter_segments("PT_LOAD")
            if each.header.p_filesz > 1 << 20
        )  # fmt: skip
    border = segment.p_offset + (1 << 20)
    for shift in range(7):
        moved = bytearray(data)
        moved[border - shift : border - shift + 6] = b"needle"
        put(library, bytes(moved))
        places, whole = elf.constants(str(library), b"needle", HERE, 8 << 20)
        assert whole
        assert len(places) == 1, shift


# ---- hostile files -----------------------------------------------------------------------------


def _patched(good: Path, to: Path, *changes: tuple[int, bytes]) -> Path:
    data = bytearray(good.read_bytes())
    for place, value in changes:
        data[place : place + len(value)] = value
    return put(to, bytes(data))


def _all_of_it(path: Path) -> str:
    """Everything that can be asked of a file; what it answers, or its one line."""
    try:
        facts = elf.read(str(path), HERE)
        for symbol in ("hipInit", "no_such_symbol"):
            elf.exports(str(path), symbol, HERE)
        elf.constants(str(path), b"amdhip64", HERE, 32 << 20)
    except BadElf as error:
        return error.kind if str(path) in str(error) and "\n" not in str(error) else repr(error)
    return facts.soname


def test_a_sparse_file_of_4_gigabytes(hip: Path, tmp_path: Path) -> None:
    large = copied(hip, tmp_path / "large.so")
    os.truncate(large, 4 << 30)
    assert bounded(lambda: _all_of_it(large)) == repr("libamdhip64.so.6")
    with large.open("r+b") as file:  # its first segment: all of it
        file.seek(64 + 32)
        file.write(struct.pack("=QQ", 4 << 30, 4 << 30))
    bounded(lambda: _all_of_it(large))
    nothing = put(tmp_path / "nothing.so")
    os.truncate(nothing, 4 << 30)
    assert bounded(lambda: _all_of_it(nothing)) == repr("not-elf")


def test_65535_segments(hip: Path, tmp_path: Path) -> None:
    counted = _patched(hip, tmp_path / "counted.so", (E_PHNUM, b"\xff\xff"))
    assert bounded(lambda: _all_of_it(counted)) == repr("damaged")
    os.truncate(counted, 4 << 30)  # now there is room for the table
    bounded(lambda: _all_of_it(counted))
    # Each of them is mapped, readable, and the whole file.
    whole = struct.pack("=IIQQQQQQ", 1, 4, 0, 0, 0, 1 << 40, 1 << 40, 1)
    header = bytearray(hip.read_bytes()[:64])
    header[E_PHOFF : E_PHOFF + 8] = struct.pack("=Q", 64)
    header[E_PHNUM : E_PHNUM + 2] = b"\xff\xff"
    many = put(tmp_path / "many.so", bytes(header) + whole * 65535)
    os.truncate(many, 4 << 30)
    bounded(lambda: _all_of_it(many))


def _dynamic(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        segment = next(iter(ELFFile(file).iter_segments("PT_DYNAMIC")))
        return segment.header.p_offset, segment.header.p_filesz


def test_a_dynamic_section_without_end(hip: Path, tmp_path: Path) -> None:
    start, size = _dynamic(hip)
    needed = struct.pack("=qQ", 1, 1)
    endless = _patched(hip, tmp_path / "endless.so", (start, needed * (size // 16)))
    bounded(lambda: _all_of_it(endless))
    # And one that goes on for a gigabyte.
    with endless.open("rb") as file:
        kinds = [each.header.p_type for each in ELFFile(file).iter_segments()]
    length = endless.stat().st_size
    data = endless.read_bytes() + needed * 100_000
    place = struct.unpack_from("=Q", data, E_PHOFF)[0] + kinds.index("PT_DYNAMIC") * 56
    changed = bytearray(data)
    struct.pack_into("=Q", changed, place + 8, length)
    struct.pack_into("=Q", changed, place + 32, 1 << 30)
    put(endless, bytes(changed))
    os.truncate(endless, 2 << 30)
    assert bounded(lambda: _all_of_it(endless)) == repr("damaged")


def test_chains_of_hashes_that_loop(tmp_path: Path) -> None:
    library = compile_library(tmp_path / "sysv.so", HIP, "-Wl,--hash-style=sysv")
    with library.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".hash").header
    count, length = struct.unpack_from("=II", library.read_bytes(), section.sh_offset)
    # Every bucket begins at symbol 1, and symbol 1 follows itself, for ever.
    words = [count, 1 << 31, *([1] * count), *([1] * length)]
    looping = _patched(
        library,
        tmp_path / "looping.so",
        (section.sh_offset, struct.pack(f"={len(words)}I", *words)),
    )
    assert bounded(lambda: _all_of_it(looping)) == repr("damaged")


def test_a_chain_of_gnu_hashes_that_never_ends(hip: Path, tmp_path: Path) -> None:
    with hip.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".gnu.hash").header
    count, first, words, shift = struct.unpack_from("=IIII", hip.read_bytes(), section.sh_offset)
    head = struct.pack("=IIII", count, first, words, shift)
    buckets = section.sh_offset + 16 + words * 8
    changes = [(section.sh_offset, head), (buckets, struct.pack("=I", first) * count)]
    endless = _patched(hip, tmp_path / "endless.so", *changes)
    data = bytearray(endless.read_bytes())
    chain = buckets + 4 * count
    data[chain : chain + 4096] = b"\x02\0\0\0" * 1024  # no value with its last bit set
    put(endless, bytes(data))
    os.truncate(endless, 1 << 30)
    bounded(lambda: _all_of_it(endless))


def test_strings_without_end(hip: Path, tmp_path: Path) -> None:
    data = bytearray(hip.read_bytes())
    with hip.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynstr").header
    data[section.sh_offset : section.sh_offset + section.sh_size] = b"x" * section.sh_size
    endless = put(tmp_path / "endless.so", bytes(data).replace(b"\0", b"x", 0))
    bounded(lambda: _all_of_it(endless))
    cut = put(tmp_path / "cut.so", bytes(data[: section.sh_offset + section.sh_size]))
    bounded(lambda: _all_of_it(cut))


@FUZZ
@given(st.data())
def test_mutated_headers(hip: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Any field of the header and of the segments, with the values that break readers."""
    changed = bytearray(hip.read_bytes())
    count = struct.unpack_from("=H", changed, E_PHNUM)[0]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, (64 + 56 * count) // 8 - 1)) * 8
        value = data.draw(
            st.sampled_from([0, 1, 2, 0x38, 0xFFFF, 1 << 31, 1 << 32, 1 << 63, 2**64 - 1])
            | st.integers(0, 0x5000)
        )
        changed[place : place + 8] = value.to_bytes(8, "little")
    path = put(tmp_path / "mutated.so", bytes(changed))
    os.truncate(path, data.draw(st.sampled_from([len(changed), 200, 1 << 32])))
    _all_of_it(path)


@FUZZ
@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes(tmp_path: Path, data: bytes, headed: bool) -> None:
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" if headed else b""
    path = put(tmp_path / "any.so", head + data)
    with suppress(BadElf):
        elf.constants(str(path), b"a", HERE, 1 << 20)
    _all_of_it(path)


def test_version_needs_are_those_that_pyelftools_reads() -> None:
    with_versions = 0
    for path in _system_libraries():
        try:
            found = elf.version_needs(str(path), HERE)
        except BadElf:
            continue  # a linker script, or another machine's
        with path.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".gnu.version_r")
            needs = section.iter_versions() if section else ()
            asked = [each.name for _, library in needs for each in library]
        assert found == tuple(dict.fromkeys(asked)), path
        with_versions += bool(found)
    assert with_versions > 5


def test_a_library_that_asks_for_no_version(tmp_path: Path) -> None:
    library = compile_library(tmp_path / "libplain.so", "int one(void) { return 1; }", "-nostdlib")
    assert elf.version_needs(str(library), HERE) == ()


@pytest.mark.parametrize("value", [0, 0xFFFFFFFF, 0x41414141])
def test_version_needs_of_a_damaged_library_are_bounded(tmp_path: Path, value: int) -> None:
    library = compile_library(tmp_path / "libbad.so", "#include <stdio.h>\nvoid f(void){puts(0);}")
    with library.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".gnu.version_r").header
    data = bytearray(library.read_bytes())
    for place in range(section["sh_offset"], section["sh_offset"] + section["sh_size"], 4):
        damaged = bytearray(data)
        struct.pack_into("=I", damaged, place, value)
        library.write_bytes(damaged)
        with suppress(BadElf):
            assert len(elf.version_needs(str(library), HERE)) < 10
