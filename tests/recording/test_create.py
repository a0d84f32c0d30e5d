"""New record files: what they hold, whom they belong to, what they never replace."""

from __future__ import annotations

import ctypes
import json
import os
import stat
from pathlib import Path

import pytest

from xdiag.errors import CannotRun, Usage
from xdiag.platforms import hip
from xdiag.recording import layout
from xdiag.recording.create import create, remove_if_over, threads_that_fit, watch
from xdiag.recording.read import read


def _header(path: Path) -> layout.Header:
    return layout.Header.from_buffer_copy(path.read_bytes()[: layout.HEADER_SIZE])


def test_what_a_new_file_says(tmp_path: Path) -> None:
    path = tmp_path / "record"
    with create(path, command=["python3", "a b.py"], threads=3, life=4, recent=8) as made:
        header = _header(path)
        assert made.size == header.file_size == path.stat().st_size
        assert (made.failures_seen, made.refusals_seen) == (0, 0)
    assert header.magic == layout.MAGIC and header.version == layout.VERSION
    assert header.refusal == hip.CONTEXT_IS_DESTROYED
    assert (header.block_count, header.life_size, header.recent_size) == (3, 4, 8)
    for place in (header.failures_offset, header.events_offset, header.blocks_offset):
        assert place % layout.ALIGNMENT == 0
    assert header.failures_offset >= header.table_offset + header.table_size
    assert header.events_offset >= header.failures_offset + header.failure_count * 128
    assert header.blocks_offset >= header.events_offset + header.events_size
    assert header.file_size == header.blocks_offset + 3 * layout.block_size(4, 8)
    table = json.loads(path.read_bytes()[header.table_offset :][: header.table_size])
    assert table["command"] == ["python3", "a b.py"] and table["platform"] == "hip"
    assert len(table["calls"]) == header.call_count
    flags = next(call for call in table["calls"] if call["name"] == "StreamGetFlags")
    assert flags == {
        "name": "StreamGetFlags", "hip": ["hipStreamGetFlags"], "kinds": ["STREAM", "OUT_U32"],
    }  # fmt: skip


def test_nobody_else_may_read_it_and_it_takes_no_room(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = create(tmp_path / "record", command=["x"])
    finally:
        os.umask(before)
    found = (tmp_path / "record").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_blocks * 512 < 64 << 10
    # The bound that the docstring states.
    assert made.size < 132_000_000
    assert made.size <= 4096 + (32 << 10) + 128 * 512 + (8 << 20) + 1500 * (64 + 64 * 1280)


def test_a_umask_that_takes_all_away_leaves_it_writable(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        create(tmp_path / "record", command=["x"]).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "record").stat().st_mode) == 0o600


def test_a_record_of_ours_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "record"
    create(path, command=["first"]).close()
    with path.open("r+b") as old:
        create(path, command=["second"]).close()
        os.pwrite(old.fileno(), b"still writing", layout.HEADER_SIZE)
    assert read(path).facts.command == ("second",)
    assert os.listdir(tmp_path) == ["record"]


def test_the_record_of_a_run_that_is_not_over_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "record"
    with create(path, command=["first"]) as made:
        with pytest.raises(CannotRun, match="a run that is not over"):
            create(path, command=["second"])
        assert not remove_if_over(path)
        assert made.is_in_place
        assert read(path).facts.command == ("first",)
    create(path, command=["second"]).close()
    assert read(path).facts.command == ("second",)
    assert remove_if_over(path) and os.listdir(tmp_path) == []
    assert remove_if_over(path)
    path.write_text("precious")
    assert not remove_if_over(path) and path.exists()


def test_a_record_that_was_moved_away_is_not_in_place(tmp_path: Path) -> None:
    path = tmp_path / "record"
    with create(path, command=["first"]) as made:
        path.rename(tmp_path / "moved")
        assert not made.is_in_place
        create(path, command=["second"]).close()
        assert not made.is_in_place


@pytest.mark.parametrize("kind", ["text", "empty", "directory", "link", "dangling", "fifo"])
def test_anything_else_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "record", tmp_path / "other"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("link", "dangling"):
        path.symlink_to(other)
        if kind == "link":
            create(other, command=["x"]).close()
    else:
        path.write_text("precious" if kind == "text" else "")
    before = sorted((each.name, each.lstat().st_size) for each in tmp_path.iterdir())
    with pytest.raises(Usage, match="is there already and is no record"):
        create(path, command=["x"])
    assert before == sorted((each.name, each.lstat().st_size) for each in tmp_path.iterdir())


@pytest.mark.parametrize(
    "figures",
    [
        {"threads": 0}, {"threads": 1 << 20}, {"life": 3}, {"recent": 0}, {"events": 0},
        {"events": 1 << 30}, {"failures": 0}, {"threads": 1 << 14, "recent": 1 << 20},
    ],
)  # fmt: skip
def test_figures_out_of_bounds(tmp_path: Path, figures: dict[str, int]) -> None:
    with pytest.raises(Usage, match=r"^a record"):
        create(tmp_path / "record", command=["x"], **figures)
    assert not (tmp_path / "record").exists()


@pytest.mark.parametrize("place", ["none/record", "nul\0"])
def test_a_place_where_none_can_be(tmp_path: Path, place: str) -> None:
    with pytest.raises(CannotRun, match="cannot create the record"):
        create(f"{tmp_path}/{place}", command=["x"])


def test_a_full_disk_is_told_before_the_program_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    full = os.statvfs_result([*real[:4], 10, *real[5:]])
    monkeypatch.setattr(os, "fstatvfs", lambda fd: full)
    with pytest.raises(CannotRun, match=r"it may grow to 125 MiB, and 0 are free there"):
        create(tmp_path / "record", command=["x"])
    assert os.listdir(tmp_path) == []


def test_where_there_is_little_room_there_are_fewer_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert threads_that_fit(tmp_path / "none", ["x"]) == 1500
    real = os.statvfs(tmp_path)
    for mebibytes, threads in ((126, 1500), (124, 750), (20, 93), (10, 23), (9, 16), (1, 16)):
        free = (mebibytes << 20) // real.f_frsize
        disk = os.statvfs_result([*real[:4], free, *real[5:]])
        monkeypatch.setattr(os, "statvfs", lambda path, disk=disk: disk)
        monkeypatch.setattr(os, "fstatvfs", lambda fd, disk=disk: disk)
        assert threads_that_fit(tmp_path, ["x"]) == threads
        if mebibytes > 9:
            create(tmp_path / "record", command=["x"], threads=threads).close()


def test_a_command_of_any_bytes_and_length(tmp_path: Path) -> None:
    path = tmp_path / "record"
    create(path, command=["a\udcff\n", *["é" * 100_000] * 3]).close()
    assert _header(path).table_size < 40 << 10
    assert read(path).facts.command[0] == "a\udcff\n"


def test_the_counters_are_live(tmp_path: Path) -> None:
    path = tmp_path / "record"
    create(path, command=["x"]).close()
    with watch(path) as seen:
        assert seen.refusals_seen == 0
        with path.open("r+b") as file:
            file.seek(layout.Header.failures_seen.offset)
            file.write((7).to_bytes(8, "little") + (3).to_bytes(8, "little"))
            file.flush()
            assert (seen.failures_seen, seen.refusals_seen) == (7, 3)
            file.truncate(10)
        assert (seen.failures_seen, seen.refusals_seen) == (0, 0)
    with pytest.raises(CannotRun, match="cannot watch"):
        watch(tmp_path / "none")
    assert ctypes.sizeof(layout.Header) <= layout.HEADER_SIZE
