"""`xdiag runtimes add`, with the real package tools; nothing here needs root but to change user."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import elftools.elf.elffile  # noqa: F401  imported before a child gives up its rights
import pytest

from runtimes.conftest import in_fork
from runtimes.test_entries import LIBRARY, made
from xdiag.errors import CannotRun, Usage
from xdiag.runtimes import apt, entries, fetch, find

NOBODY = 65534

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def _silent(text: str) -> None:
    del text


@pytest.fixture
def no_lists(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh container: apt has never fetched its lists."""
    (open_folder / "lists" / "partial").mkdir(parents=True)
    config = open_folder / "apt.conf"
    config.write_text(f'Dir::State::lists "{open_folder}/lists/";\n')
    monkeypatch.setenv("APT_CONFIG", str(config))


def test_the_entry_is_whole_and_nothing_else_is_left(fetched: fetch.Added) -> None:
    folder = Path(fetched.path)
    manifest = json.loads((folder / entries.MANIFEST).read_text())
    names = [each["name"] for each in manifest["packages"]]
    assert fetched.new
    assert names[-1] == fetched.package
    assert all(len(each["sha256"]) == 64 for each in manifest["packages"])
    assert any((Path(each) / "libamd_comgr.so.2").exists() for each in
               entries.read(folder).library_dirs)  # fmt: skip
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, ".lock"}


def test_a_second_add_says_that_it_is_there(fetched_cache: fetch.Added) -> None:
    said: list[str] = []
    added = fetch.add(said.append)
    assert not added.new
    assert added.path == fetched_cache.path
    assert "is there already" in said[-1]


def test_without_lists_what_is_there_is_enough(fetched_cache: fetch.Added, no_lists: None) -> None:
    assert not fetch.add(_silent).new


@needs_root
def test_an_unprivileged_user_in_a_fresh_container(
    fetched: fetch.Added, no_lists: None, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(open_folder))
    status, path = in_fork(lambda: fetch.add(_silent).path, user=NOBODY)
    assert status == 0, path
    assert Path(path).is_relative_to(open_folder / ".cache" / "xdiag")
    assert Path(path).stat().st_uid == NOBODY
    assert entries.read(Path(path)) is not None


@needs_root
def test_a_home_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    status, text = in_fork(lambda: fetch.add(_silent), user=NOBODY)
    assert status == 3
    assert "set XDG_CACHE_HOME to a directory you can write to" in text


def test_two_at_once_fetch_once(
    fetched: fetch.Added, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        added = pool.map(fetch.add, [_silent, _silent])
    assert sorted(each.new for each in added) == [False, True]
    assert added[0].path == added[1].path
    assert len(list((tmp_path / "xdiag/runtimes").glob("libamdhip64*"))) == 1


def test_the_second_says_that_it_waits(
    fetched_cache: fetch.Added, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(fetched_cache.runtime)  # one that is whole needs no lock
    said: list[str] = []
    with (Path(fetched_cache.path).parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def say(text: str) -> None:
            said.append(text)
            fcntl.flock(lock, fcntl.LOCK_UN)

        fetch.add(say, fetched_cache.package)
    assert "waiting" in said[0]


@needs_root
def test_what_is_there_needs_no_place_to_write(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder))
    monkeypatch.setattr(fetch, "installed", lambda prefix: {})
    folder = made(open_folder / "xdiag", "7.2.4-1")
    # Of another user, who lets all read it.
    for each in (open_folder / "xdiag", *(open_folder / "xdiag").rglob("*")):
        if not each.is_symlink():
            each.chmod(0o755 if each.is_dir() else 0o644)
    said: list[str] = []
    assert in_fork(lambda: fetch.add(_silent, "7.2").path, user=NOBODY) == (0, str(folder))
    assert not fetch.add(said.append, "7.2").new
    assert said == [f"libamdhip64-7 7.2.4-1 is there already, in {folder}"]
    (folder / LIBRARY).write_bytes(b"another")
    status, text = in_fork(lambda: fetch.add(_silent, "7.2").path, user=NOBODY)
    assert status == 3
    assert "runtimes: Permission denied; set XDG_CACHE_HOME" in text


@pytest.mark.parametrize("name", ["a:b", "a;b"])
def test_a_cache_that_no_library_path_can_hold_is_refused_before_anything_is_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    monkeypatch.setattr(fetch, "installed", lambda prefix: {})
    said: list[str] = []
    with pytest.raises(CannotRun, match=r"colon or semicolon in it; set XDG_CACHE_HOME"):
        fetch.add(said.append, "7.2")
    assert said == []
    assert not (tmp_path / name).exists()


def test_a_package_that_many_suites_have_is_offered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offers = tuple(
        apt.Offer(f"libamdhip64-{number}", "1-1", suite)
        for number in "567"
        for suite in ("bookworm", "sid")
    )

    class Archive:
        trouble = ""

        def offers(self, prefix: str, pattern: object) -> tuple[apt.Offer, ...]:
            return offers

        def described(self, offers: tuple[apt.Offer, ...]) -> str:
            return f"{len(offers)} offers"

    monkeypatch.setattr(fetch.suites, "open_archive", lambda work, say: Archive())
    adding = fetch._Adding(tmp_path, tmp_path, _silent)
    with pytest.raises(CannotRun) as told:
        adding._in_archive("libamdhip64-9", ())
    hint = str(told.value).partition("did you mean ")[2].rstrip("?").split(" or ")
    assert sorted(hint) == ["libamdhip64-5", "libamdhip64-6", "libamdhip64-7"]


@pytest.mark.parametrize("last", ["Fetching libamdhip64", "Unpacking libhsa"])
def test_killed_halfway_it_leaves_nothing_usable_and_the_next_one_clears_up(
    last: str, fetched: fetch.Added, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "xdiag" / "runtimes"
    program = "from xdiag.runtimes.fetch import add; add(lambda text: print(text, flush=True))"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, text=True, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        next(line for line in child.stdout if line.startswith(last))
        child.send_signal(signal.SIGKILL)
    assert list(folder.glob(".partial-*"))
    assert entries.every() == ()
    time.sleep(0.5)  # apt, which lost its parent, comes to its end
    assert fetch.add(_silent).new
    assert not list(folder.glob(".partial-*"))


def test_interrupted_it_clears_up_at_once(
    fetched: fetch.Added, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def interrupt(text: str) -> None:
        if text.startswith("Fetching libamdhip64"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.add(interrupt)
    assert [path.name for path in (tmp_path / "xdiag/runtimes").iterdir()] == [".lock"]


def test_a_half_entry_of_the_same_name_is_replaced(
    fetched: fetch.Added, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    half = tmp_path / "xdiag" / "runtimes" / Path(fetched.path).name
    (half / "usr").mkdir(parents=True)
    assert fetch.add(_silent).path == str(half)


# ---- what cannot be done -----------------------------------------------------------------------


def _in_sandbox(*unshare: str, setup: str = "true") -> tuple[int, str]:
    """Run add() where `unshare` has taken something away; (exit code, last line)."""
    program = (
        "import sys\n"
        "from xdiag.errors import XdiagError\n"
        "from xdiag.runtimes import fetch\n"
        "try:\n"
        "    fetch.add(print)\n"
        "except XdiagError as error:\n"
        "    print(error); sys.exit(error.exit_code)\n"
    )
    if subprocess.run(["unshare", *unshare, "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"unshare {' '.join(unshare)} is not allowed here")
    script = f'{setup} || exit 77; exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", *unshare, "sh", "-c", script, sys.executable, program],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(f"cannot do here: {setup}")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.mark.parametrize("lists", [True, False])
def test_without_a_network(
    lists: bool, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if not lists:
        request.getfixturevalue("no_lists")
    status, line = _in_sandbox("-rn" if os.geteuid() else "-n")
    assert status == 3
    assert "the package servers cannot be reached" in line
    assert "check network and proxy" in line
    assert [path.name for path in (tmp_path / "cache/xdiag/runtimes").iterdir()] == [".lock"]


@pytest.mark.parametrize("size", [3, 20])
def test_a_full_disk(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    status, line = _in_sandbox("-m", setup=f"mount -t tmpfs -o size={size}m none {tmp_path}")
    assert status == 3
    assert f"has {size} MiB free" in line or "no space left" in line


def test_a_command_that_fills_the_disk_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "_WATCH_EVERY", 0.1)
    monkeypatch.setattr(apt, "free_bytes", lambda folder: 0)
    started = time.monotonic()
    with pytest.raises(CannotRun, match="no space left on the disk: make room"):
        apt.run(["sleep", "60"], writes_to=tmp_path)
    assert time.monotonic() - started < 10


def test_a_machine_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRun, match="needs the package tools of Debian or Ubuntu"):
        fetch.add(_silent)


def test_what_is_no_version_and_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for wrong in ("bash", "libamdhip64-dev", "libamdhip64-5=1", "-o", "", "../5", "5/sid", "v5.2"):
        with pytest.raises(Usage, match="no version and no package of the HIP runtime"):
            fetch.add(_silent, wrong)


def test_what_the_system_has_need_not_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    present = {"libamdhip64-5": "5.2.3-8", "libamdhip64-dev": "5.2.3-8"}
    monkeypatch.setattr(fetch, "installed", lambda prefix: present)
    monkeypatch.setattr(find, "loader_finds", lambda name: f"/usr/lib/{name}")
    said: list[str] = []
    added = fetch.add(said.append)
    assert (added.source, added.new) == ("system", False)
    assert added.runtime == "/usr/lib/libamdhip64.so.5"
    assert said == ["libamdhip64-5 5.2.3-8 is installed on this system: nothing to fetch"]


def test_a_second_c_library_is_refused() -> None:
    planned = (apt.Planned("libc6", "2.41-12", "2.36-9"), apt.Planned("libamdhip64-5", "5.7.1-6"))
    with pytest.raises(CannotRun, match=r"needs a newer C library \(libc6 2.41-12\)"):
        fetch._refuse_system_parts("libamdhip64-5", planned)


def test_plans_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = (
        "Inst libnuma1 [2.0.15-1] (2.0.16-1 Debian:12.1/stable [amd64])\n"
        "Inst libamdhip64-5 (5.2.3-8 Debian:12.1/stable [amd64]) []\n"
        "Conf libnuma1 (2.0.16-1 Debian:12.1/stable [amd64])\n"
    )
    monkeypatch.setattr(
        apt, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, told, "")
    )
    assert apt.Apt(tmp_path, own_lists=False).plan("libamdhip64-5", "5.2.3-8") == (
        apt.Planned("libnuma1", "2.0.16-1", "2.0.15-1"),
        apt.Planned("libamdhip64-5", "5.2.3-8"),
    )


def test_stale_lists_are_fetched_anew(
    fetched: fetch.Added, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real, failed = apt.Apt.download, []

    def download(self: apt.Apt, planned: tuple[apt.Planned, ...], *rest: Any) -> dict[str, Path]:
        if not failed:
            failed.append(planned)
            raise apt.Failed("404", stale=True)
        return real(self, planned, *rest)

    monkeypatch.setattr(apt.Apt, "download", download)
    said: list[str] = []
    assert fetch.add(said.append).new
    assert "Fetching package lists (the system's are of no use here)" in said
