"""A file tree seen from inside: nothing leads out of it, all as it would be after chroot."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from discover.conftest import bounded, needs_root, put
from xdiag.discover.root import Root


def test_links_stay_inside(tmp_path: Path) -> None:
    put(tmp_path / "etc" / "passwd", "inside")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    (tmp_path / "above").symlink_to("../../../../../../../etc/passwd")
    (tmp_path / "directory").symlink_to("/etc")
    root = Root(tmp_path)
    for path in ("/absolute", "/above", "/directory/passwd", "/../../etc/passwd", "//etc//passwd"):
        assert root.read(path) == b"inside", path
        assert root.real_path(path) == "/etc/passwd"
        assert root.outside(path) == str(tmp_path / "etc" / "passwd")
    assert root.read_link("/absolute") == "/etc/passwd"
    assert root.lstat("/absolute").st_ino == (tmp_path / "absolute").lstat().st_ino
    assert root.stat("/absolute").st_ino == (tmp_path / "etc" / "passwd").stat().st_ino


def test_loops_end(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "a").symlink_to("/b")
    (tmp_path / "b").symlink_to("a/x")
    (tmp_path / "around").symlink_to("/")
    put(tmp_path / "file")
    root = Root(tmp_path)
    for path in ("/self", "/a", "/b/c"):
        assert not root.exists(path)
        with pytest.raises(OSError, match="symbolic links") as caught:
            root.stat(path)
        assert caught.value.errno == errno.ELOOP
        with pytest.raises(OSError, match="symbolic links"):
            root.real_path(path)
        assert root.names(path) == []
        assert root.text(path) == ""
    assert root.is_file("/around/around/around/file")
    assert root.is_file("/around" * 40 + "/file")
    assert not root.is_file("/around" * 41 + "/file")  # as the kernel has it


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(tmp_path)  # a socket's path may be short only
        listening.bind("socket")
        for root, prefix in ((Root(tmp_path), ""), (Root(), str(tmp_path))):
            for name in ("fifo", "directory", "socket", "absent", "\0"):
                path = f"{prefix}/{name}"
                assert not root.is_file(path)
                assert root.text(path) == ""
                assert root.names(path) == []
                with pytest.raises((OSError, ValueError)):
                    root.open(path)
    assert not Root(tmp_path).exists("/null")  # there is no /dev in it
    with pytest.raises(OSError, match="not a regular file"):
        Root().open("/dev/null")


def test_names_are_sorted_and_may_be_no_text(tmp_path: Path) -> None:
    strange = os.fsdecode(b"\xff\n")
    for name in ("b", "a", strange):
        put(tmp_path / name)
    assert Root(tmp_path).names("/") == ["a", "b", strange]
    assert Root(tmp_path).is_file(f"/{strange}")
    put(tmp_path / "bytes", b"\xff\0")
    assert os.fsencode(Root(tmp_path).text("/bytes")) == b"\xff\0"


def test_a_process_has_a_root_too() -> None:
    root = Root("/proc/self/root")
    assert not root.is_this_machine
    assert root.real_path("/bin/sh") == os.path.realpath("/bin/sh")
    assert root.stat("/bin/sh").st_ino == os.stat("/bin/sh").st_ino


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(4 << 30)
    bounded(lambda: len(Root(tmp_path).text("/large")))


def test_a_long_way_takes_no_time(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for number in range(40):
        target = "d/../" * 700 + f"link{number + 1}"
        (tmp_path / f"link{number}").symlink_to(target)
    bounded(lambda: Root(tmp_path).exists("/link0"))
    bounded(lambda: Root(tmp_path).exists("/d/.." * 20_000))
    bounded(lambda: Root(tmp_path).exists("/x" * 20_000))


_PARTS = st.sampled_from(["a", "b", "c", "d", "..", ".", ""])
_PATHS = st.lists(_PARTS, min_size=1, max_size=5).map("/".join)
_TREES = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3).map("/".join),
    st.one_of(st.none(), st.just(""), _PATHS, _PATHS.map(lambda path: f"/{path}")),
    max_size=8,
)


def _grow(tree: dict[str, str | None], root: str) -> None:
    """Directories (None), files (empty) and links in a fresh tree; what does not fit is left."""
    for path, kind in sorted(tree.items(), key=lambda item: item[0].count("/")):
        place = os.path.join(root, path)
        try:
            if kind is None:
                os.mkdir(place)
            elif not kind:
                Path(place).touch(exist_ok=False)
            else:
                os.symlink(kind, place)
        except OSError:
            continue


@needs_root
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_TREES, st.lists(_PATHS.map(lambda path: f"/{path}"), min_size=1, max_size=12))
def test_paths_lead_where_they_lead_after_chroot(
    tree: dict[str, str | None], paths: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _grow(tree, folder)
        real = _after_chroot(folder, paths)
        root = Root(folder)
        for path, (inode, code) in zip(paths, real, strict=True):
            try:
                seen = (root.stat(path).st_ino, 0)
            except OSError as error:
                seen = (0, error.errno)
            assert seen == (inode, code), path


def _after_chroot(folder: str, paths: list[str]) -> list[tuple[int, int]]:
    """(inode, errno) of each path for a process that has ``folder`` as its root."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.chroot(folder)
            os.chdir("/")
            for path in paths:
                try:
                    answer = f"{os.stat(path).st_ino} 0\n"
                except OSError as error:
                    answer = f"0 {error.errno}\n"
                os.write(write, answer.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        answers = [tuple(map(int, line.split())) for line in pipe]
    os.waitpid(pid, 0)
    return answers  # type: ignore[return-value]
