"""Processes that lie: files that are no libraries, lists that never end.  Bounded in time."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process.conftest import Opener
from xdiag.doctor.runtimes_in_process import inspect
from xdiag.findings import Status
from xdiag.process import image, link_map, maps
from xdiag.process.look import look

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


HOSTILE = {
    "empty": b"",
    "text": b"GROUP ( libamdhip64.so.6 )",
    "head": b"\x7fELF\x02\x01\x01",
    "truncated": None,
    "32 bit": b"\x7fELF\x01\x01\x01" + bytes(60),
    "huge counts": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 0xFFFF, 0, 0, 0
    ) + b"\xff" * 4096,
    "zeros": bytes(1 << 20),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_no_library_is_told_of(
    start: Start, runtime: Runtime, tmp_path: Path, kind: str
) -> None:
    content = HOSTILE[kind]
    if content is None:
        content = runtime("whole.so").read_bytes()[:700]
    hostile = tmp_path / "libamdhip64.so.6"
    hostile.write_bytes(content)
    begun = time.monotonic()
    inspection = inspect(look(start(f"map {hostile}").pid))
    assert time.monotonic() - begun < 2
    (copy,) = inspection.process.copies
    assert copy.object.path == str(hostile) and copy.object.problem
    by_id = {finding.check: finding for finding in inspection.findings}
    assert by_id["process.readable-files"].status is Status.WARN
    assert str(hostile) in " ".join(by_id["process.readable-files"].evidence)


def test_a_large_sparse_file_costs_nothing(start: Start, tmp_path: Path) -> None:
    big = tmp_path / "libamdhip64.so.6"
    with big.open("wb") as file:
        file.write(HOSTILE["huge counts"] or b"")
        file.truncate(1 << 36)
    begun = time.monotonic()
    (copy,) = look(start(f"map {big}").pid).copies
    assert time.monotonic() - begun < 2
    assert copy.object.problem == f"{big}: it has no dynamic section: no library"


def test_all_of_them_together_take_little_memory(start: Start, tmp_path: Path) -> None:
    lines = []
    for place, content in enumerate(filter(None, HOSTILE.values())):
        hostile = tmp_path / str(place) / "libamdhip64.so.6"
        hostile.parent.mkdir()
        hostile.write_bytes(content)
        os.truncate(hostile, len(content) if place % 2 else 1 << 32)
        lines.append(f"map {hostile}")
    script = (
        "from xdiag.process.look import look;"
        f"print(len(look({start(*lines, 'long-name').pid}).copies));"
        # Not ru_maxrss, which remembers the process that it was before exec.
        "print(*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=4, check=True
    )
    copies, kilobytes = map(int, done.stdout.split())
    assert copies == len(lines)
    assert kilobytes < 200 << 10


def test_ten_thousand_regions(start: Start, runtime: Runtime) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {a}", "regions 10000", f"open {b}")
    begun = time.monotonic()
    facts = look(opener.pid)
    took = time.monotonic() - begun
    assert facts.mappings > 10000
    assert [copy.object.path for copy in facts.copies] == [str(a), str(b)]
    assert took < 1, "the benchmark holds it against 0.1"


# ---- the loader's list -----------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["loop-list", "wild-list"])
def test_a_list_that_does_not_end(start: Start, runtime: Runtime, lie: str) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {a}", f"open {b}", lie)
    begun = time.monotonic()
    facts = look(opener.pid)
    assert time.monotonic() - begun < 2
    assert {copy.object.path for copy in facts.copies} == {str(a), str(b)}
    assert facts.link_map_problem == "the loader's list does not end as it should"


def test_a_name_without_an_end_is_left_aside(start: Start, runtime: Runtime) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    facts = look(start(f"open {a}", f"open {b}", "long-name").pid)
    assert [copy.object.path for copy in facts.copies] == [str(a), str(b)]
    assert facts.link_map_problem == ""


class _Memory:
    """Memory of one stretch."""

    def __init__(self, start: int, content: bytes) -> None:
        self.start, self.content = start, content

    def read(self, address: int, count: int) -> bytes:
        place = address - self.start
        if place < 0 or place + count > len(self.content):
            raise OSError
        return self.content[place : place + count]


_FUZZ = settings(
    max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_BASE = 0x10000


@_FUZZ
@given(st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1), min_size=8, max_size=200))
def test_any_words_as_lists(numbers: list[int]) -> None:
    """Small numbers become pointers into the same memory, so that lists are followed."""
    words = [_BASE + 8 * n if n <= 40 else n for n in numbers]
    memory = _Memory(_BASE, struct.pack(f"={len(words)}Q", *words))
    found = link_map.read(memory, b"", [_BASE, _BASE + 16])
    assert sum(map(len, found.namespaces)) <= 200
    vector = struct.pack("=6Q", 3, _BASE, 4, 56, 5, 3)
    link_map.read(memory, vector)


def test_lists_that_loop_through_namespaces_end() -> None:
    # r_debug that says version 2, has no objects, and names itself as the next.
    loop = struct.pack("=2Q", 21, _BASE + 16) + struct.pack("=6Q", 2, 0, 0, 0, 0, _BASE + 16)
    found = link_map.read(_Memory(_BASE, loop), b"", [_BASE])
    assert found.namespaces == ((),) and found.tells_of_others


def test_a_list_as_long_as_memory_is_cut() -> None:
    count = 1 << 16
    entries = b"".join(
        struct.pack("=5Q", 0, 0, 0, _BASE + 64 + 40 * (place + 1), 0) for place in range(count)
    )
    head = struct.pack("=2Q", 21, _BASE + 16) + struct.pack("=6Q", 1, _BASE + 64, 0, 0, 0, 0)
    begun = time.monotonic()
    found = link_map.read(_Memory(_BASE, head + entries), b"", [_BASE])
    assert time.monotonic() - begun < 2
    assert len(found.namespaces[0]) == 1 << 14
    assert found.problem == "the loader's list does not end as it should"


@_FUZZ
@given(st.data())
def test_mutated_images(built: Path, data: st.DataObject) -> None:
    good = bytearray(built.read_bytes())
    for place in data.draw(st.lists(st.integers(0, 0x400) | st.integers(0, len(good) - 1))):
        good[place] = data.draw(st.integers(0, 255))
    image.read(_Memory(_BASE, bytes(good)), _BASE)


@_FUZZ
@given(st.binary(max_size=300))
def test_any_text_as_a_map(text: bytes) -> None:
    maps.read(text.splitlines(keepends=True))


@_FUZZ
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**70), st.integers(0, 2**70), st.sampled_from(["r-xp", "rw-p", "x"]),
            st.integers(0, 2**70), st.sampled_from(["08:01", "ffffff:ffffff", "x:y", "8"]),
            st.integers(-5, 2**70), st.sampled_from(["/a", "/b (deleted)", "[heap]", "", "/c\xff"]),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_any_lines_as_a_map(lines: list[tuple[object, ...]]) -> None:
    text = [
        f"{a:x}-{b:x} {p} {o:x} {d} {i} {path}\n".encode("latin-1")
        for a, b, p, o, d, i, path in lines
    ]
    found = maps.read(text)
    assert found.lines == len(text)
    for load in found.loads:
        assert any(mapping.executable for mapping in load.mappings)


def test_loads_of_one_file_are_told_apart_by_their_offsets() -> None:
    line = "7f00000{}000-7f00000{}000 {} 0000{}000 08:01 77 /lib/a.so\n"
    twice = [
        line.format(place, place + 1, permissions, offset).encode()
        for place, (permissions, offset) in enumerate(
            [("r--p", 0), ("r-xp", 1), ("rw-p", 2), ("r--p", 0), ("r-xp", 1), ("r--p", 2)]
        )
    ]
    assert [load.start for load in maps.read(twice).loads] == [0x7F00000_0000, 0x7F00000_3000]
    # Code that was split by mprotect is one load still; so is one with a reader's mapping before.
    split = [
        line.format(place, place + 1, permissions, offset).encode()
        for place, (permissions, offset) in enumerate(
            [("r--p", 0), ("r--p", 0), ("r-xp", 1), ("rwxp", 2), ("r-xp", 3), ("rw-p", 4)]
        )
    ]
    (load,) = maps.read(split).loads
    assert load.start == 0x7F00000_1000
