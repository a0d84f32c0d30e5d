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


def _flip(path: Path) -> None:
    """Change one byte, with the size and the time kept."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        (LIBRARY, True), ("libc/usr/lib/libc.so.6", True), ("usr/lib/libamdhip64.so.7", True),
        ("libc/usr/lib/ld-linux-x86-64.so.2", True), ("usr/lib/libother.so", False),
    ],
)  # fmt: skip
def test_the_files_that_matter_most(name: str, matters: bool, empty_machine: Path) -> None:
    folder = made(empty_machine, "7.2.4-1")
    for other in ("libc/usr/lib/libc.so.6", "usr/lib/libother.so"):
        (folder / other).write_text("a library")
    files = [each for each in folder.rglob("*") if each.is_symlink() or each.is_file()]
    made_of = tuple(
        entries.file_of(folder, each) for each in files if each.name != entries.MANIFEST
    )
    manifest = msgspec.json.decode((folder / entries.MANIFEST).read_bytes(), type=entries.Manifest)
    (folder / entries.MANIFEST).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(manifest, files=made_of))
    )
    (entry,) = entries.every()
    assert entries.damage_of_main(entry) == ""
    _flip(folder / name)
    assert entries.damage_of_main(entry) == (f"{name} is not what was fetched" if matters else "")
    assert entries.damage(entry) == f"{name} is not what was fetched"


def test_what_holds_a_file(empty_machine: Path, tmp_path: Path) -> None:
    folder = made(empty_machine, "7.2.4-1")
    entry = entries.read(folder)
    assert entries.holding(str(folder / LIBRARY)) == entry
    (tmp_path / "link.so").symlink_to(folder / LIBRARY)
    assert entries.holding(str(tmp_path / "link.so")) == entry
    elsewhere = shutil.copytree(folder, tmp_path / "other" / folder.name, symlinks=True)
    found = entries.holding(str(elsewhere / LIBRARY))
    assert isinstance(found, entries.Entry) and found.runtime == str(elsewhere / LIBRARY)
    _touch(elsewhere)
    assert isinstance(entries.holding(str(elsewhere / LIBRARY)), entries.Refused)
    (folder / entries.MANIFEST).unlink()
    assert isinstance(entries.holding(str(folder / LIBRARY)), entries.Refused)


def test_another_file_that_is_called_so_is_no_manifest(empty_machine: Path, tmp_path: Path) -> None:
    library = tmp_path / "app" / "lib" / "libamdhip64.so"
    library.parent.mkdir(parents=True)
    library.write_text("a library")
    assert entries.holding(str(library)) is None
    for text in ('{"name": "a page", "icons": []}', "[" * 100000, "no JSON"):
        (tmp_path / "app" / entries.MANIFEST).write_text(text)
        assert entries.holding(str(library)) is None
    (tmp_path / "app" / entries.MANIFEST).unlink()
    os.mkfifo(tmp_path / "app" / entries.MANIFEST)
    assert entries.holding(str(library)) is None


def test_what_mends_it(empty_machine: Path, tmp_path: Path) -> None:
    folder = made(empty_machine, "1:7.2.4-1~exp2")
    assert entries.mended_by(str(folder)) == "mended by: xdiag runtimes add 1:7.2.4-1~exp2"
    assert "cp -a" in entries.mended_by(str(tmp_path / "other" / folder.name))
