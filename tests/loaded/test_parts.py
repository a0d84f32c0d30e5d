"""The map taken apart: whatever names it holds, and whatever else it might."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from xdiag import loaded

FUZZ = settings(max_examples=300, deadline=2000)
FAMILY = "libamdhip64"


@FUZZ
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_arbitrary_bytes(before: bytes, after: bytes) -> None:
    for copy in loaded._copies(FAMILY, before + b"/libamdhip64.so.6" + after):
        assert copy.family == FAMILY


@FUZZ
@given(st.lists(st.lists(st.binary(max_size=20), max_size=8), max_size=8))
def test_lines_of_arbitrary_fields(lines: list[list[bytes]]) -> None:
    text = b"\n".join(b" ".join(fields) + b" /libamdhip64.so" for fields in lines)
    assert len(loaded._copies(FAMILY, text)) <= len(lines)


PARTS = st.binary(max_size=12).filter(lambda part: b"\0" not in part and b"/" not in part)
FILES = st.tuples(
    st.lists(PARTS, max_size=3),
    st.sampled_from(["libamdhip64.so", "libamdhip64.so.6", "libamdhip64-1a2b3c4d.so.6.4"]),
    st.integers(0, 2**20),
    st.integers(1, 2**64 - 1),
    st.booleans(),
)
#: Offsets and rights of segments, as linkers lay them out.
LAYOUTS = st.sampled_from(
    [
        [(0, "r--p"), (0x1000, "r-xp"), (0x2000, "r--p"), (0x2000, "r--p"), (0x3000, "rw-p")],
        [(0, "r-xp"), (0, "r--p"), (0, "rw-p")],
        [(0, "r-xp"), (0x1000, "---p"), (0x200000, "rw-p")],
        [(0, "r--p"), (0x1000, "r-xp"), (0x2000, "rwxp"), (0x3000, "r-xp"), (0x4000, "rw-p")],
    ]
)


@FUZZ
@given(st.lists(st.tuples(FILES, LAYOUTS), max_size=6))
def test_every_load_is_found_once(loads: list) -> None:
    address, lines, expected, layouts = 0x7F0000000000, [], [], {}
    for (folders, name, device, inode, deleted), layout in loads:
        path = b"/".join([b"", *folders, name.encode()])
        shown = path.replace(b"\n", b"\\012") + (b" (deleted)" if deleted else b"")
        layout = layouts.setdefault((shown, device, inode), layout)  # one file, one layout
        expected.append((path.replace(b"\\012", b"\n"), device, inode, address, deleted))
        for offset, rights in layout:
            head = f"{address:x}-{address + 0x1000:x} {rights} {offset:08x}"
            place = f"{os.major(device):02x}:{os.minor(device):02x} {inode}"
            lines.append(f"{head} {place}".encode().ljust(73) + shown)
            address += 0x1000
        lines.append(f"{address:x}-{address + 0x1000:x} rw-p 00000000 00:00 0 ".encode())
        address += 0x1000
    found = loaded._copies(FAMILY, b"\n".join([*lines, b""]))
    assert [
        (os.fsencode(copy.path), copy.device, copy.inode, copy.address, copy.deleted)
        for copy in found
    ] == expected
