"""Trees that were made to be read without end: the answer comes in time, or a refusal does."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from discover.conftest import bounded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.elf_writer import Content, written
from loader.trees import INTERPRETER
from xdiag.discover.root import Root
from xdiag.loader import glibc
from xdiag.loader.link_map import LinkMap, NotLoaded


class Told(NamedTuple):
    """What came of a link map."""

    objects: int
    missing: int
    refused: int
    #: Why libraries are missing, each reason once.
    reasons: list[str]
    #: What the program cannot be started for.
    refusal: str


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A root with a loader in it."""
    loader = tmp_path / INTERPRETER.lstrip("/")
    loader.parent.mkdir()
    loader.write_bytes(
        written(Content())
        + b"\0GLIBC_PRIVATE\0/lib64/\0/usr/lib64/\0\0lib64\0"
        + b"ld.so (GNU libc) stable release version 2.36.\0"
    )
    return tmp_path


def _program(top: Path, **content: Any) -> None:
    (top / "main").write_bytes(written(Content(interpreter=INTERPRETER, **content)))


def _told(top: Path, environ: dict[str, str] | None = None, *opens: str) -> Told:
    """What comes of it, within the limits."""
    return Told(*ast.literal_eval(bounded(lambda: _foretold(top, environ or {}, opens))))


def _foretold(top: Path, environ: dict[str, str], opens: tuple[str, ...]) -> tuple[Any, ...]:
    try:
        link_map = LinkMap.of_program("/main", Root(top), environ, keep_going=True)
    except NotLoaded as error:
        return 0, 0, 0, [], str(error)
    missing = len(link_map.missing)
    refused = sum(not _opens(link_map, name) for name in opens)
    reasons = sorted({each.reason for each in link_map.missing})
    return len(link_map.objects), missing, refused, reasons, ""


def _opens(link_map: LinkMap, name: str) -> bool:
    try:
        link_map.open(name)
    except NotLoaded as error:
        return not str(error).isprintable()
    return True


def test_many_directories_and_many_names(top: Path) -> None:
    (top / "d").mkdir()
    here = "/d/" + "./" * 300
    names = tuple(f"lib{number}.so" for number in range(4000))
    _program(top, needed=names, rpath="$ORIGIN/d:" * 400)
    paths = ":".join(here + "./" * number for number in range(400))
    told = _told(top, {"LD_LIBRARY_PATH": paths})
    assert told.reasons == ["cannot open shared object file", "too many files were tried"]
    assert _told(top, {"LD_LIBRARY_PATH": ":" * 100_000}).missing == 4000
    assert _told(top, {"LD_PRELOAD": "libx.so:" * 50_000}).missing == 4000


def test_many_objects(top: Path) -> None:
    for number in range(2200):
        needed = (f"/l{number + 1}.so", "/l1.so", "libx.so")
        (top / f"l{number}.so").write_bytes(written(Content(needed=needed)))
    _program(top, needed=("/l0.so",))
    told = _told(top)
    assert told.reasons == ["cannot open shared object file", "too much is loaded already"]
    assert 1500 < told.objects <= 2000


def test_long_names_in_many_libraries(top: Path) -> None:
    data = bytearray(written(Content(needed=("n" * 4000,) + ("x",) * 4000)))
    # All of them the long one.
    first = data.index((1).to_bytes(8, "little"), 0x300 + 4000)
    long_name = data[first + 8 : first + 16]
    for place in range(first, first + 16 * 4001, 16):
        data[place + 8 : place + 16] = long_name
    for number in range(30):
        (top / f"l{number}.so").write_bytes(data + bytes([number]))
    _program(top, needed=tuple(f"/l{number}.so" for number in range(30)))
    told = _told(top)
    assert "too much is loaded already" in told.reasons
    assert told.objects == 2


def test_many_filters(top: Path) -> None:
    names = tuple(f"/l{number % 300}.so" for number in range(4000))
    for number in range(300):
        (top / f"l{number}.so").write_bytes(written(Content()))
    for content in (Content(auxiliary=names), Content(filters=names)):
        (top / "libx.so").write_bytes(written(content))
        _program(top, needed=("/libx.so",))
        told = _told(top)
        assert told.reasons == ["too many filters"]
        assert told.objects == 2 + 256


def test_things_in_the_way(top: Path) -> None:
    os.mkfifo(top / "libfifo.so")
    (top / "libloop.so").symlink_to("libloop.so")
    (top / "libdir.so").mkdir()
    (top / "libup.so").symlink_to("/" + "../" * 1000 + "main")
    names = (
        "/libfifo.so", "/libloop.so", "/libdir.so", "/libup.so", os.fsdecode(b"/\xff\xfe.so"),
        "/a\nb.so", "x" * 5000, "/" + "x" * 300, "/main/x.so", "/dev/null", "/", "a\0b", "/a\0b",
        "\ud800", "/\ud800", "$ORIGIN" * 2000, "${LIB}/$PLATFORM",
    )  # fmt: skip
    needed = tuple(name for name in names if name.isprintable() and len(name) < 4000)
    _program(top, needed=needed)
    environ = {"LD_LIBRARY_PATH": "/main:/libloop.so:\ud800", "LD_PRELOAD": "/libfifo.so \ud800"}
    told = _told(top, environ, *names, "")
    # The empty name is the program.
    assert (told.objects, told.missing, told.refused) == (1, len(needed), len(names))


def test_a_loader_that_is_none(top: Path) -> None:
    loader = top / INTERPRETER.lstrip("/")
    _program(top)
    for content in (
        b"", b"GLIBC_PRIVATE", b"\x7fELF GLIBC_PRIVATE" + b"/lib/\0" * 200_000,
        b"GLIBC_PRIVATE" + b"/lib" * (4 << 20) + b"ld.so (" * (1 << 20),
    ):  # fmt: skip
        loader.write_bytes(content)
        assert INTERPRETER in _told(top).refusal
    loader.unlink()
    os.mkfifo(loader)
    assert "the dynamic loader: not a regular file" in _told(top).refusal


_FUZZ = settings(
    max_examples=300, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@_FUZZ
@given(st.data())
def test_mutated_programs_and_libraries(top: Path, data: st.DataObject) -> None:
    content = Content("libx.so", ("/liby.so", "libz.so"), "$ORIGIN:/d", None, auxiliary=("/x.so",))
    library = bytearray(written(content))
    _program(top, needed=("/libx.so", "/liby.so"), runpath="$ORIGIN/../$LIB")
    program = bytearray((top / "main").read_bytes())
    for changed in (library, program):
        for place in data.draw(st.lists(st.integers(0, len(changed) // 4 - 1), max_size=4)):
            value = data.draw(st.sampled_from((0, 1, 4, 2**31)) | st.integers(0, 2**32 - 1))
            changed[4 * place : 4 * place + 4] = value.to_bytes(4, "little")
    (top / "main").write_bytes(program)
    (top / "libx.so").write_bytes(library)
    begun = time.perf_counter()
    objects, *_, refusal = _foretold(top, {}, ("libx.so", "/libx.so"))
    assert bool(objects) != bool(refusal)
    assert refusal.isprintable()
    assert time.perf_counter() - begun < 2


@_FUZZ
@given(
    st.binary(max_size=400),
    st.lists(st.sampled_from((b"/lib/\0", b"lib\0", b"ld.so (")), max_size=9),
)
def test_arbitrary_loaders(top: Path, data: bytes, words: list[bytes]) -> None:
    (top / "any").write_bytes(b"GLIBC_PRIVATE\0" + data + b"".join(words))
    facts = glibc.of_program("/main", "/any", Root(top))
    assert all(each.startswith("/") and each.endswith("/") for each in facts.system_dirs)
    assert facts.system_dirs
    assert facts.lib
