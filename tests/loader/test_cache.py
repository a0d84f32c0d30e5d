"""The loader's cache, read from its file: as ldconfig wrote it, and as nobody should."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.elf_writer import Content, written
from loader.trees import LDCONFIG
from xdiag.discover.root import Root
from xdiag.loader import cache
from xdiag.loader.cache import Cache, _compare
from xdiag.loader.cpu import Cpu

NEWEST = (2, 42)
FLAGS = {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}
BASE = {"cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2"}
LEVEL_1 = Cpu("x86_64", "AuthenticAMD", frozenset(BASE))
LEVEL_2 = Cpu("x86_64", "AuthenticAMD", frozenset(BASE | FLAGS))
LEVEL_3 = Cpu(
    "x86_64",
    "GenuineIntel",
    frozenset(BASE | FLAGS | {"avx", "avx2", "f16c", "fma", "abm", "movbe", "bmi1", "bmi2"}),
)

needs_ldconfig = pytest.mark.skipif(not shutil.which(LDCONFIG), reason="no ldconfig here")


def _libraries(top: Path, *paths: str) -> None:
    for path in paths:
        library = top / path
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_bytes(
            written(Content(soname=re.sub(r"(\.so\.\d+)\..*", r"\1", library.name)))
        )


def _made(top: Path, *folders: str, cache_format: str = "new") -> Path:
    """A cache of these directories, as ldconfig makes it."""
    conf, made = top / "conf", top / "cache"
    conf.write_text("".join(f"{top / folder}\n" for folder in folders))
    subprocess.run(
        [LDCONFIG, "-X", "-C", str(made), "-f", str(conf), "-c", cache_format], check=True,
        capture_output=True,
    )  # fmt: skip
    return made


def _printed(made: Path) -> list[tuple[str, str, str]]:
    """Name, hwcap and path of each line that ldconfig prints."""
    done = subprocess.run(
        [LDCONFIG, "-p", "-C", str(made)], check=True, capture_output=True, text=True
    )
    lines = re.findall(r"^\t(.*) \((.*)\) => (.*)$", done.stdout, re.MULTILINE)
    found = []
    for name, facts, path in lines:
        hwcap = re.search(r'hwcap: "([^"]*)"', facts)
        found.append((name, hwcap[1] if hwcap else "", path))
    return found


@needs_ldconfig
@pytest.mark.parametrize("cache_format", ["new", "compat", "old"])
def test_entries_are_those_that_ldconfig_prints(tmp_path: Path, cache_format: str) -> None:
    _libraries(
        tmp_path, "a/libx.so.1", "a/libx.so.2", "a/libx.so.10", "a/libx2y.so", "a/libx10y.so",
        "b/libx.so.1", "b/libz.so.1.2.3", "b/liby-1.2.so", "a/libé.so.1",
    )  # fmt: skip
    if cache_format == "new":
        _libraries(
            tmp_path, "a/glibc-hwcaps/x86-64-v2/libx.so.1", "b/glibc-hwcaps/x86-64-v3/liby.so.1"
        )
    made = _made(tmp_path, "a", "b", cache_format=cache_format)
    read = cache.read(Root("/"), str(made))
    names = read.hwcap_names
    entries = [
        (each.name, names[each.hwcap & 0xFFFFFFFF] if each.hwcap >> 62 & 1 else "", each.path)
        for each in read.entries()
    ]
    assert entries == _printed(made)
    assert len(entries) > 8
    assert cache.paths(Root("/"), str(made)) == tuple(dict.fromkeys(path for *_, path in entries))


@needs_ldconfig
def test_this_machines_cache_is_as_ldconfig_prints_it() -> None:
    if not Path(cache.PATH).exists():
        pytest.skip("this machine has no cache")
    entries = [(each.name, each.path) for each in cache.read(Root("/")).entries()]
    assert entries == [(name, path) for name, _, path in _printed(Path(cache.PATH))]


@needs_ldconfig
def test_every_name_is_found_and_no_other(tmp_path: Path) -> None:
    names = [f"lib{stem}.so.{number}" for stem in ("a", "b1", "b10", "b2") for number in range(12)]
    _libraries(tmp_path, *(f"d/{name}" for name in names))
    made = cache.read(Root("/"), str(_made(tmp_path, "d")))
    for name in names:
        assert made.lookup(name, LEVEL_1, NEWEST) == f"{tmp_path}/d/{name}"
    for name in ("liba.so", "liba.so.12", "libb3.so.1", "", "z", "liba.so.1\n", "l" * 9000):
        assert made.lookup(name, LEVEL_1, NEWEST) == ""
    # To the loader this is the same name: it compares numbers by their value.
    assert made.lookup("libb01.so.1", LEVEL_1, NEWEST) == f"{tmp_path}/d/libb1.so.1"


@needs_ldconfig
def test_the_best_for_the_processor_and_the_version(tmp_path: Path) -> None:
    _libraries(
        tmp_path, "d/libx.so.1", "d/glibc-hwcaps/x86-64-v2/libx.so.1",
        "d/glibc-hwcaps/x86-64-v3/libx.so.1", "d/glibc-hwcaps/zzz/libx.so.1",
    )  # fmt: skip
    made = cache.read(Root("/"), str(_made(tmp_path, "d")))

    def found(cpu: Cpu, version: tuple[int, int]) -> str:
        return made.lookup("libx.so.1", cpu, version).removeprefix(f"{tmp_path}/d/")

    assert found(LEVEL_1, NEWEST) == "libx.so.1"
    assert found(LEVEL_2, NEWEST) == "glibc-hwcaps/x86-64-v2/libx.so.1"
    assert found(LEVEL_3, (2, 33)) == "glibc-hwcaps/x86-64-v3/libx.so.1"
    # Before 2.33 the loader knew of none of them.
    assert found(LEVEL_3, (2, 32)) == "libx.so.1"


def _cache(*entries: tuple[bytes, bytes, int, int, int], flags: int = 0) -> bytes:
    """A cache in the new format: name, path, flags, osversion, hwcap, in this order."""
    strings, table = b"", b""
    start = 48 + 24 * len(entries)
    for name, path, kind, osversion, hwcap in entries:
        key = start + len(strings)
        strings += name + b"\0"
        table += struct.pack("=iIIIQ", kind, key, start + len(strings), osversion, hwcap)
        strings += path + b"\0"
    header = struct.pack(
        "=20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(entries), len(strings), flags, 0
    )
    return header + table + strings


def test_what_an_entry_asks_for() -> None:
    def found(cpu: Cpu, version: tuple[int, int], *entry: int, osversion: int = 0) -> bool:
        made = Cache(
            _cache((b"libx.so", b"/special", *entry), (b"libx.so", b"/usual", 0x303, 0, 0))
        )
        path = made.lookup("libx.so", cpu, version, osversion)
        assert path in ("/special", "/usual")
        return path == "/special"

    assert found(LEVEL_1, (2, 36), 0x303, 0, 0)
    # Another machine's library, or one of libc5.
    assert not found(LEVEL_1, (2, 36), 0x003, 0, 0)
    assert not found(LEVEL_1, (2, 36), 0x301, 0, 0)
    # The kernel's version counted up to 2.35.
    assert not found(LEVEL_1, (2, 35), 0x303, 0x50000, 0, osversion=0x40000)
    assert found(LEVEL_1, (2, 35), 0x303, 0x50000, 0, osversion=0x50000)
    assert found(LEVEL_1, (2, 36), 0x303, 0x50000, 0, osversion=0x40000)
    # A platform is asked for by a bit that only some of Intel's processors have...
    assert not found(LEVEL_2, (2, 36), 0x303, 0, 1 << 50)
    assert found(LEVEL_3, (2, 36), 0x303, 0, 1 << 50)
    assert not found(LEVEL_3, (2, 36), 0x303, 0, 1 << 51)
    # ... up to 2.39, and no such entry counts from 2.40 on.
    assert found(LEVEL_3, (2, 39), 0x303, 0, 1 << 50)
    assert not found(LEVEL_3, (2, 40), 0x303, 0, 1 << 50)
    # tls is a bit of its own; x86_64 is one since 2.27.
    assert found(LEVEL_1, (2, 36), 0x303, 0, 1 << 63)
    assert found(LEVEL_1, (2, 36), 0x303, 0, 2)
    assert not found(LEVEL_1, (2, 25), 0x303, 0, 2)
    # avx512_1, which this processor lacks; a named one without names.
    assert not found(LEVEL_3, (2, 36), 0x303, 0, 4)
    assert not found(LEVEL_3, (2, 36), 0x303, 0, 1 << 62)


def test_a_cache_of_the_other_byte_order_is_none() -> None:
    entry = (b"libx.so", b"/x", 0x303, 0, 0)
    usable = [
        bool(Cache(_cache(entry, flags=flags)).lookup("libx.so", LEVEL_1, NEWEST))
        for flags in range(4)
    ]
    assert usable == [True, False, True, False]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("libx.so.2", "libx.so.10"),
        ("libx.so", "libx.so.1"),
        ("libx-1.so", "libx1.so"),
        ("liba.so", "libb.so"),
    ],
)
def test_numbers_are_ordered_by_value(left: str, right: str) -> None:
    one, other = left.encode(), right.encode()
    assert _compare(one, other) * _compare(other, one) < 0
    assert _compare(one, one) == 0
    assert _compare(b"libx.so.010", b"libx.so.10") == 0
    assert _compare(b"libx.so.4294967297", b"libx.so.1") == 0


def test_no_cache_at_all(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    for name in ("missing", "directory", "bad\0name"):
        read = cache.read(Root(tmp_path), name)
        assert list(read.entries()) == []
        assert read.lookup("libc.so.6", LEVEL_1, NEWEST) == ""


def _is_read_in_time(data: bytes) -> None:
    begun = time.perf_counter()
    read = Cache(data)
    for name in ("libx.so.1", "", "libc.so.6", "x" * 5000):
        for version in ((2, 17), (2, 36), NEWEST):
            assert isinstance(read.lookup(name, LEVEL_3, version), str)
    entries = list(read.entries())
    assert len(entries) <= len(data) // 12
    assert isinstance(read.hwcap_names, tuple)
    assert time.perf_counter() - begun < 2


_FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_FUZZ
@given(st.binary(max_size=300), st.sampled_from((b"", b"ld.so-1.7.0", b"glibc-ld.so.cache1.1")))
def test_arbitrary_bytes(data: bytes, magic: bytes) -> None:
    _is_read_in_time(magic + data)


_GOOD = _cache(
    *(
        (b"libx.so.%d" % number, b"/d/libx.so.%d" % number, 0x303, 0, number << 60)
        for number in range(9)
    ),
    flags=2,
)


@_FUZZ
@given(st.data())
def test_mutated_caches(data: st.DataObject) -> None:
    good = _GOOD
    if data.draw(st.booleans()):
        # The new format inside of the old one.
        good = b"ld.so-1.7.0\0" + struct.pack("=IiII", 1, 1, 0, 0) + b"\0" * 4 + good
    changed = bytearray(good[: data.draw(st.just(len(good)) | st.integers(0, len(good)))])
    for place in data.draw(st.lists(st.integers(0, len(good) // 4), max_size=8)):
        value = data.draw(st.sampled_from((0, 1, 2**31 - 1, 2**32 - 1)) | st.integers(0, 2**32 - 1))
        if 4 * place + 4 <= len(changed):
            changed[4 * place : 4 * place + 4] = value.to_bytes(4, "little")
    _is_read_in_time(bytes(changed))


def test_a_cache_that_is_large_and_hostile(tmp_path: Path) -> None:
    # 300 000 entries of one name of 4 MB that has no end; all names and paths overlap.
    count = 300_000
    entry = struct.pack("=iIIIQ", 0x303, 48 + 24 * count, 48 + 24 * count, 0, 0)
    data = struct.pack("=20sIIB3xI12x", b"glibc-ld.so.cache1.1", count, 0, 2, 0)
    path = tmp_path / "cache"
    path.write_bytes(data + entry * count + b"x1" * (2 << 20))
    begun = time.perf_counter()
    read = cache.read(Root(tmp_path), "/cache")
    assert len(read.lookup("x1" * 2048, LEVEL_3, NEWEST)) == 4096
    assert read.lookup("libx.so", LEVEL_3, NEWEST) == ""
    assert time.perf_counter() - begun < 1
    begun = time.perf_counter()
    assert len(cache.paths(Root(tmp_path), "/cache")) == 1
    assert time.perf_counter() - begun < 2
