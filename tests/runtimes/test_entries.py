"""Entries of the cache: what they say of themselves, and when they are refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runtimes.conftest import compile_library
from xdiag.runtimes import entries

SOURCE = "int hipInit(unsigned flags) { return (int)flags; }"
LIBRARY = "usr/lib/libamdhip64.so.7"


def made(
    cache: Path, version: str, package: str = "libamdhip64-7", **other: object
) -> Path:  # fmt: skip
    """An entry as `add` leaves it, with a C library of its own that is none."""
    folder = cache / "runtimes" / entries.name_of(package, version)
    compile_library(folder / LIBRARY, SOURCE)
    (folder / "usr/lib/libamdhip64.so").symlink_to("libamdhip64.so.7")
    (folder / "libc/usr/lib").mkdir(parents=True)
    (folder / "libc/usr/lib/ld-linux-x86-64.so.2").write_text("a loader")
    files = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()]
    manifest = entries.Manifest(
        manifest_version=2, package=package, version=version, runtime=LIBRARY,
        library_dirs=("usr/lib",), packages=(), fetched="2026-01-01T00:00:00+00:00",
        suite="sid", loader="libc/usr/lib/ld-linux-x86-64.so.2", libc="2.44",
        libc_dirs=("libc/usr/lib",), needs_libc="2.38",
        files=tuple(entries.file_of(folder, path) for path in files),
    )  # fmt: skip
    manifest = msgspec.structs.replace(manifest, **other)
    (folder / entries.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return folder


def test_an_entry_with_a_c_library_of_its_own(empty_machine: Path) -> None:
    folder = made(empty_machine, "7.2.4-1~exp2")
    (entry,) = entries.every()
    assert entry == entries.read(folder)
    assert entry.loader == str(folder / "libc/usr/lib/ld-linux-x86-64.so.2")
    assert (entry.libc, entry.libc_dirs) == ("2.44", (str(folder / "libc/usr/lib"),))
    assert (entry.library_dirs, entry.needs_libc) == ((str(folder / "usr/lib"),), "2.38")
    assert entry.hip == "7.2.4"
    assert entry.size == (folder / LIBRARY).stat().st_size + len("a loader")
    assert entries.damage(entry) == ""


def test_an_entry_of_version_1_is_still_read(empty_machine: Path) -> None:
    folder = made(empty_machine, "5.2.3-8")
    (folder / entries.MANIFEST).write_text(
        '{"manifest_version": 1, "package": "libamdhip64-5", "version": "5.2.3-8",'
        f'"runtime": "{LIBRARY}", "library_dirs": ["usr/lib"], "packages": [], "fetched": ""}}'
    )
    (entry,) = entries.every()
    assert (entry.loader, entry.libc, entry.libc_dirs, entry.needs_libc) == ("", "", (), "")
    assert entries.damage(entry) == ""


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("7", "7.10.0-1"), ("7.2", "7.2.4-1~exp2"), ("7.2.4", "7.2.4-1~exp2"),
        ("7.2.4-1~exp2", "7.2.4-1~exp2"), ("7.1", "7.1.9-1"), ("libamdhip64-7", "7.10.0-1"),
        ("7.20", None), ("7.2.4-1", None), ("", None), ("7.", None), ("libamdhip64", None),
    ],
)  # fmt: skip
def test_by_version(text: str, version: str | None, empty_machine: Path) -> None:
    for each in ("7.1.9-1", "7.10.0-1", "7.2.4-1~exp2"):
        made(empty_machine, each)
    found = entries.by_version(text)
    assert (found and found.version) == version


def test_upstream_versions() -> None:
    told = ("5.7.1-6", "1:5.2.3+dfsg-8", "2.36-9+deb12u10", "7.2.4-1~exp2", "trunk")
    assert [entries.upstream(each) for each in told] == ["5.7.1", "5.2.3", "2.36", "7.2.4", "trunk"]


def _shorten(folder: Path) -> None:
    os.truncate(folder / LIBRARY, 100)


def _touch(folder: Path) -> None:
    os.utime(folder / LIBRARY)


def _remove(folder: Path) -> None:
    (folder / "libc/usr/lib/ld-linux-x86-64.so.2").unlink()


def _relink(folder: Path) -> None:
    (folder / "usr/lib/libamdhip64.so").unlink()
    (folder / "usr/lib/libamdhip64.so").symlink_to("/bin/sh")


def _replace_by_link(folder: Path) -> None:
    shutil.move(folder / LIBRARY, folder / "moved")
    (folder / LIBRARY).symlink_to(folder / "moved")


def _add_library(folder: Path) -> None:
    (folder / "usr/lib/libc.so.6").write_text("another")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_shorten, f"{LIBRARY} has another size than was fetched"),
        (_touch, f"{LIBRARY} has changed since it was fetched"),
        (_remove, "libc/usr/lib/ld-linux-x86-64.so.2 is missing"),
        (_relink, "usr/lib/libamdhip64.so is another link than was fetched"),
        (_replace_by_link, f"{LIBRARY} has another size than was fetched"),
        (_add_library, "usr/lib/libc.so.6 was not fetched"),
    ],
)
def test_an_entry_that_differs_is_refused(
    harm: Callable[[Path], None], reason: str, empty_machine: Path
) -> None:
    folder = made(empty_machine, "7.2.4-1")
    harm(folder)
    assert entries.every() == ()
    assert entries.by_version("7") is None
    assert entries.refused() == (entries.Refused(str(folder), reason),)


def test_content_that_differs_behind_the_same_size_and_time(empty_machine: Path) -> None:
    folder = made(empty_machine, "7.2.4-1")
    status = (folder / LIBRARY).stat()
    data = bytearray((folder / LIBRARY).read_bytes())
    data[1000] ^= 1
    (folder / LIBRARY).write_bytes(data)
    os.utime(folder / LIBRARY, ns=(status.st_atime_ns, status.st_mtime_ns))
    (entry,) = entries.every()
    assert entries.damage(entry) == f"{LIBRARY} is not what was fetched"
    assert not entries.mend_times(folder)


def test_a_copy_of_the_cache_that_lost_its_times_is_mended(empty_machine: Path) -> None:
    folder = made(empty_machine, "7.2.4-1")
    _touch(folder)
    assert entries.mend_times(folder)
    assert entries.refused() == ()
    _add_library(folder)
    assert not entries.mend_times(folder)


@pytest.mark.parametrize("name", ["loader", "libc_dirs", "library_dirs", "files"])
def test_a_manifest_that_leads_elsewhere_is_refused(name: str, empty_machine: Path) -> None:
    wrong: object = "../x"
    if name != "loader":
        wrong = ("../x",) if name != "files" else (entries.File("/etc/passwd", 1),)
    made(empty_machine, "7.2.4-1", **{name: wrong})
    (refused,) = entries.refused()
    assert refused.reason == "its manifest is damaged: it names files elsewhere"
