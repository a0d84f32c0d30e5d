"""Which places are safe: real directories with every kind of owner, mode and link."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process.conftest import needs_root
from runtimes.conftest import in_fork

from xdiag.errors import CannotRun
from xdiag.launch import trust
from xdiag.launch.trust import check_ownership_of_tree, check_trusted, private_folder

OTHER = 12345
NOBODY = 65534


@pytest.fixture
def safe() -> Iterator[Path]:
    """A directory below the temporary one, mode 0755: others may look, not write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _refused(path: Path | str, says: str, **how: bool) -> str:
    with pytest.raises(CannotRun) as caught:
        check_trusted(str(path), what="the record", **how)
    text = str(caught.value)
    assert text.startswith("the record: ") and "\n" not in text
    assert says in text
    return text


def _file(path: Path, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    path.chmod(mode)
    return path


# ---- trusted places --------------------------------------------------------------------------


def test_private_directories_below_a_sticky_one_pass(safe: Path) -> None:
    assert stat.S_IMODE(os.stat(tempfile.gettempdir()).st_mode) & stat.S_ISVTX
    check_trusted(str(_file(safe / "a" / "b" / "record")), what="the record")
    check_trusted(str(safe / "yet-to-be-made"), what="the record")
    check_trusted(str(safe), what="the record's directory")
    check_trusted(sys.executable, what="the program")


def test_a_relative_path_counts_from_the_working_directory(
    safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(safe)
    check_trusted("record", what="the record")
    safe.chmod(0o777)
    _refused("record", f"{safe} can be written to by everyone")


def test_a_file_directly_in_a_sticky_directory_is_refused(safe: Path) -> None:
    shared = safe / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    says = f"{shared} can be written to by everyone"
    _refused(shared / "record", says)
    _refused(_file(shared / "there"), says)
    _refused(shared, says)
    inside = shared / "mine"
    inside.mkdir(mode=0o700)
    check_trusted(str(inside / "record"), what="the record")
    _refused(os.path.join(tempfile.gettempdir(), "record"), "can be written to by everyone")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_one_writable_directory_anywhere_is_enough(safe: Path, level: int) -> None:
    path = _file(safe / "a" / "b" / "c" / "record")
    folder = path.parents[level]
    folder.chmod(0o757)
    _refused(path, f"{folder} can be written to by everyone")


def test_the_file_itself(safe: Path) -> None:
    _refused(_file(safe / "open", 0o602), "can be written to by everyone; take that away with")
    fifo = safe / "fifo"
    os.mkfifo(fifo)
    _refused(fifo, "not a regular file")
    link = safe / "link"
    link.symlink_to(_file(safe / "target"))
    check_trusted(str(link), what="the record")
    assert str(link) in _refused(link, "is a link, not a file", follow=False)
    dangling = safe / "dangling"
    dangling.symlink_to("nonesuch")
    check_trusted(str(dangling), what="the record")
    _refused(dangling, "is a link, not a file", follow=False)


@needs_root
def test_what_belongs_to_others_is_refused(safe: Path) -> None:
    path = _file(safe / "a" / "record")
    os.chown(path, OTHER, 0)
    _refused(path, f"{path} belongs to user {OTHER}")
    os.chown(path, 0, 0)
    os.chown(path.parent, NOBODY, 0)
    says = _refused(path, f"{path.parent} belongs to user ")
    assert "yours or root's" in says
    os.chown(path.parent, 0, 0)
    check_trusted(str(path), what="the record")


@needs_root
def test_another_user_trusts_roots_directories_and_their_own(safe: Path) -> None:
    mine = _file(safe / "mine" / "record")
    os.chown(mine.parent, NOBODY, NOBODY)
    os.chown(mine, NOBODY, NOBODY)
    roots = _file(safe / "roots", 0o644)
    third = _file(safe / "third", 0o644)
    os.chown(third, OTHER, OTHER)
    for path, expected in ((mine, (0, "None")), (roots, (0, "None"))):
        assert in_fork(lambda path=path: check_trusted(str(path), what="it"),
                       user=NOBODY) == expected  # fmt: skip
    status, told = in_fork(lambda: check_trusted(str(third), what="it"), user=NOBODY)
    assert status == 3 and f"{third} belongs to user {OTHER}" in told


# ---- groups ----------------------------------------------------------------------------------


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the groups be these: name -> (gid, members); and alice have this user's id."""
    import grp
    import pwd

    accounts = [
        pwd.struct_passwd(("root", "x", 0, 0, "", "/root", "/bin/sh")),
        pwd.struct_passwd(("alice", "x", os.geteuid(), 1000, "", "/", "/bin/sh")),
        pwd.struct_passwd(("bob", "x", 1001, 1001, "", "/", "/bin/sh")),
        pwd.struct_passwd(("carol", "x", 1002, 2000, "", "/", "/bin/sh")),
    ]

    def know(name: str, gid: int, *members: str) -> None:
        def getgrgid(asked: int) -> grp.struct_group:
            if asked != gid:
                raise KeyError(asked)
            return grp.struct_group((name, "x", gid, list(members)))

        monkeypatch.setattr(trust.grp, "getgrgid", getgrgid)
        monkeypatch.setattr(trust.pwd, "getpwall", lambda: accounts)
        monkeypatch.setattr(trust.pwd, "getpwuid", lambda uid: accounts[1])
        trust._others_in.cache_clear()

    yield know
    trust._others_in.cache_clear()


@needs_root
@pytest.mark.parametrize(
    ("name", "gid", "members", "trusted"),
    [
        ("alice", 1000, (), True),
        ("alice", 1000, ("alice", "root"), True),
        ("alice", 1000, ("bob",), False),
        ("alice", 2000, (), False),  # it is the first group of carol
        ("users", 1000, (), False),  # a directory service need not list its members
        ("staff", 50, (), True),
        ("staff", 50, ("bob",), False),
        ("root", 0, (), True),
        ("nameless", 4000, None, False),
    ],
)
def test_who_is_in_a_group_that_may_write(
    safe: Path, groups: Callable[..., None], name: str, gid: int,
    members: tuple[str, ...] | None, trusted: bool,
) -> None:  # fmt: skip
    groups(name, gid if members is not None else -1, *(members or ()))
    path = _file(safe / "a" / "record")
    os.chown(path.parent, -1, gid)
    path.parent.chmod(0o775)
    if trusted:
        check_trusted(str(path), what="the record")
    else:
        shown = name if members is not None else str(gid)
        _refused(path, f"{path.parent} can be written to by group {shown}")
    os.chown(path, -1, gid)
    path.parent.chmod(0o755)
    path.chmod(0o660)
    if not trusted:
        _refused(path, f"{path} can be written to by group")


def test_an_access_list_hides_behind_the_groups_bits(safe: Path) -> None:
    path = _file(safe / "a" / "record")
    everyone = 0xFFFFFFFF
    entries = ((1, 7, everyone), (2, 7, OTHER), (4, 5, everyone), (16, 7, everyone),
               (32, 5, everyone))  # fmt: skip
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)
    try:
        os.setxattr(path.parent, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no access lists can be set here: {error}")
    assert path.parent.stat().st_mode & 0o020
    _refused(path, f"{path.parent} can be written to by those on its access control list")


# ---- links -----------------------------------------------------------------------------------


def test_links_are_followed_step_by_step_at_every_level(safe: Path) -> None:
    target = _file(safe / "real" / "deep" / "record")
    (safe / "first").symlink_to("real")
    (safe / "real" / "second").symlink_to(safe / "first" / "deep" / ".." / "deep")
    third = safe / "third"
    third.symlink_to("first/second/record")
    check_trusted(str(third), what="the record")
    target.parent.chmod(0o777)
    assert str(target.parent) in _refused(third, "can be written to by everyone")
    target.parent.chmod(0o755)
    target.chmod(0o666)
    assert str(target) in _refused(third, "can be written to by everyone")


def test_a_link_that_others_could_change_is_refused_though_it_leads_to_a_safe_place(
    safe: Path,
) -> None:
    target = _file(safe / "real" / "record")
    open_folder = safe / "open"
    open_folder.mkdir()
    (open_folder / "way").symlink_to(target.parent)
    (open_folder / "file").symlink_to(target)
    check_trusted(str(open_folder / "way" / "record"), what="the record")
    open_folder.chmod(0o777)
    _refused(open_folder / "way" / "record", f"{open_folder} can be written to by everyone")
    _refused(open_folder / "file", f"{open_folder} can be written to by everyone")
    # Nobody else can replace our link in a sticky directory; a file is not looked for there.
    open_folder.chmod(0o1777)
    check_trusted(str(open_folder / "way" / "record"), what="the record")
    _refused(open_folder / "file", f"{open_folder} can be written to by everyone")
    # Both are the same file by their real path.
    check_trusted(os.path.realpath(open_folder / "file"), what="the record")


def test_a_way_that_turns_back_is_followed_to_its_end(safe: Path) -> None:
    shared = safe / "shared"
    inside = shared / "mine"
    inside.mkdir(parents=True)
    shared.chmod(0o1777)
    (inside / "up").symlink_to("..")
    (inside / "here").symlink_to(".")
    check_trusted(str(inside / "here"), what="the record's directory")
    for path in (inside / "up", f"{inside}/..", f"{inside}/here/../.", f"{inside}/up/record"):
        _refused(path, f"{shared} can be written to by everyone")


@needs_root
def test_a_link_of_another_user_is_refused(safe: Path) -> None:
    _file(safe / "real" / "record")
    way = safe / "way"
    way.symlink_to("real")
    os.chown(way, OTHER, OTHER, follow_symlinks=False)
    _refused(way / "record", f"{way} belongs to user {OTHER}")


def test_paths_that_lead_nowhere(safe: Path) -> None:
    (safe / "loop").symlink_to("loop")
    _refused(safe / "loop" / "record", "symbolic links")
    _refused(safe / "none" / "record", "No such file")
    _refused(_file(safe / "file") / "record", "Not a directory")
    _refused("/" + "x" * 300, "File name too long")
    _refused("a\0b", "not a path")


_PARTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "..", ".", ""]), max_size=6)
LINKS = st.lists(st.tuples(st.sampled_from("abcdef"), _PARTS), max_size=6)


@settings(max_examples=60, deadline=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(LINKS)
def test_links_in_any_order_are_followed_as_the_kernel_does(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[str, list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("links")
    (folder / "a" / "b" / "c").mkdir(parents=True)
    for name, parts in links:
        place = folder / name
        if not place.is_symlink() and not place.exists():
            place.symlink_to("/".join(parts) or ".")
    for path in (folder / "d" / "b", folder / "e" / "f" / "a"):
        try:
            steps = list(trust._steps(str(path)))
        except OSError:
            # A loop or a missing directory: the kernel refuses it too.
            with pytest.raises(OSError):  # noqa: PT011
                os.stat(path)
            continue
        assert steps[-1].path == os.path.realpath(path)
        assert steps[-1].last


# ---- user namespaces -------------------------------------------------------------------------


@needs_root
def test_in_a_namespace_without_the_machines_root_its_files_are_trusted(safe: Path) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def look() -> str:
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is ours again
        if libc.unshare(0x10000000) != 0:  # CLONE_NEWUSER
            return f"skip: {os.strerror(ctypes.get_errno())}"
        Path("/proc/self/uid_map").write_text(f"1000 {OTHER} 1\n")
        trust._unmapped_owner.cache_clear()
        assert os.geteuid() == 1000
        assert os.stat("/usr").st_uid == NOBODY
        check_trusted("/usr/bin/env", what="it")
        return "trusted"

    status, told = in_fork(look, user=OTHER)
    if told.startswith("skip"):
        pytest.skip(f"no user namespaces here: {told}")
    assert (status, told) == (0, "trusted")
    # Outside of one, that user is a user like any other.
    os.chown(safe, NOBODY, NOBODY)
    _refused(safe / "record", f"{safe} belongs to user ")


# ---- private_folder --------------------------------------------------------------------------


@pytest.fixture
def home(safe: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(safe))
    for name in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return safe


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_temporary_records_are_kept_in_the_runtime_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert private_folder() == private_folder() == runtime / "xdiag"
    assert _mode(runtime / "xdiag") == 0o700


@pytest.mark.parametrize("wrong", ["mode", "link", "missing", "relative", "file", "empty"])
def test_else_in_the_cache(home: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    runtime = home / "run"
    if wrong == "mode":
        runtime.mkdir(mode=0o755)
    elif wrong == "link":
        (home / "elsewhere").mkdir(mode=0o700)
        runtime.symlink_to("elsewhere")
    elif wrong == "file":
        runtime.write_text("")
    told = {"relative": "run", "empty": ""}.get(wrong, str(runtime))
    monkeypatch.setenv("XDG_RUNTIME_DIR", told)
    monkeypatch.chdir(home)
    folder = private_folder()
    assert folder == home / ".cache" / "xdiag" / "records"
    assert _mode(folder) == 0o700


@needs_root
def test_a_runtime_directory_of_another_user_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, OTHER, OTHER)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert private_folder().parent.name == "xdiag"
    assert not list(runtime.iterdir())


def test_a_folder_that_was_made_too_open_is_closed(home: Path) -> None:
    folder = home / ".cache" / "xdiag" / "records"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert private_folder() == folder
    assert _mode(folder) == 0o700


def test_no_private_folder_can_be_had(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".cache").write_text("")
    with pytest.raises(CannotRun, match="set XDG_CACHE_HOME"):
        private_folder()
    (home / ".cache").unlink()
    (home / "elsewhere").mkdir(mode=0o700)
    (home / ".cache" / "xdiag").mkdir(parents=True)
    (home / ".cache" / "xdiag" / "records").symlink_to(home / "elsewhere")
    with pytest.raises(CannotRun, match="mode 0700: set XDG_CACHE_HOME"):
        private_folder()
    assert _mode(home / "elsewhere") == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "open" / "cache"))
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    with pytest.raises(CannotRun, match=r"the directory for records: .*open can be written to"):
        private_folder()
    assert list((home / "open").iterdir()) == []
    # What is made in a sticky directory stays ours.
    (home / "open").chmod(0o1777)
    assert private_folder() == home / "open" / "cache" / "xdiag" / "records"


# ---- check_ownership_of_tree -----------------------------------------------------------------


@needs_root
def test_root_does_not_run_what_others_can_change(safe: Path) -> None:
    script = _file(safe / "tree" / "script.py")
    program = _file(safe / "program", 0o755)
    check_ownership_of_tree([str(program), str(script), "", "/nonesuch", "a\0b"], allow_root=False)

    def says(part: Path, user: str = f"user {OTHER}") -> None:
        with pytest.raises(CannotRun) as caught:
            check_ownership_of_tree([str(program), str(script)], allow_root=False)
        text = str(caught.value)
        assert f"{part} belongs to {user}" in text
        assert "--allow-root" in text and "\n" not in text
        check_ownership_of_tree([str(program), str(script)], allow_root=True)
        status, told = in_fork(
            lambda: check_ownership_of_tree([str(script)], allow_root=False), user=NOBODY
        )
        assert (status, told) == (0, "None")

    os.chown(script, OTHER, -1)
    says(script)
    os.chown(script, 0, -1)
    os.chown(script.parent, OTHER, -1)
    says(script.parent)
    os.chown(script.parent, 0, -1)
    # A virtual environment of another user: its python is a link to root's.
    bin = safe / "venv" / "bin"
    bin.mkdir(parents=True)
    script = bin / "python"
    script.symlink_to(program)
    os.chown(script, OTHER, OTHER, follow_symlinks=False)
    says(script)
    os.chown(script, 0, 0, follow_symlinks=False)
    os.chown(bin, NOBODY, NOBODY)
    says(bin, "user nobody" if _has_account(NOBODY) else f"user {NOBODY}")


def _has_account(uid: int) -> bool:
    import pwd

    return any(each.pw_uid == uid for each in pwd.getpwall())
