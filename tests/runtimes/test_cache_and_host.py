"""Where the cache is, and what the machine is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xdiag.errors import CannotRun
from xdiag.runtimes import cache
from xdiag.runtimes import host as facts


def test_the_cache_follows_the_xdg_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.root() == tmp_path / "xdg" / "xdiag"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.root() == tmp_path / ".cache" / "xdiag"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder("a", "b") == tmp_path / ".cache/xdiag/a/b"
    assert (tmp_path / ".cache/xdiag/a/b").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CannotRun, match="Not a directory; set XDG_CACHE_HOME"):
        cache.folder("runtimes")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")

    def no_account(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(cache.pwd, "getpwuid", no_account)
    with pytest.raises(CannotRun, match="set XDG_CACHE_HOME"):
        cache.folder("runtimes")


def test_host() -> None:
    host = facts.host()
    assert host.cpus == len(os.sched_getaffinity(0))
    assert os.uname().release in host.kernel
    assert host.python
    assert host.libc
    assert host.system


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/cgroup", "0::/kubepods.slice/cri-containerd-1\n", "kubernetes"),
        ("proc/1/cgroup", "0::/lxc/box\n", "lxc"),
        ("proc/1/cgroup", "0::/init.scope\n", ""),
    ],
)
def test_containers(
    tmp_path: Path, file: str, text: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert facts._container(tmp_path) == kind


def test_a_cache_that_cannot_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(CannotRun, match=r"runtimes: Permission denied; set XDG_CACHE_HOME"):
        cache.folder("runtimes")
    monkeypatch.setattr(cache, "_read_only", lambda path: True)
    with pytest.raises(CannotRun, match=r"runtimes: Read-only file system; set XDG_CACHE_HOME"):
        cache.folder("runtimes")


def test_a_read_only_mount_is_told_from_a_directory_of_another_user(tmp_path: Path) -> None:
    assert not cache._read_only(tmp_path)
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    fixed = [place for _, place, _, options, *_ in mounts if "ro" in options.split(",")]
    if not fixed:
        pytest.skip("no file system is mounted read-only here")
    assert cache._read_only(Path(fixed[0]))
