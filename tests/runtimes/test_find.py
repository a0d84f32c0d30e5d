"""Runtimes on disk: every place is looked at, every file is listed once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runtimes.conftest import compile_library, show_python
from xdiag.discover import libraries
from xdiag.errors import Usage
from xdiag.runtimes import entries, find
from xdiag.runtimes.find import Candidate, Found

SOURCE = "int hipInit(unsigned flags) { return (int)flags; }"


def _entry(cache: Path, name: str, manifest: dict[str, object] | bytes | None) -> Path:
    folder = cache / "runtimes" / name
    compile_library(folder / "lib" / "libamdhip64.so.5.2.21153", SOURCE)
    if isinstance(manifest, dict):
        manifest = msgspec.json.encode(manifest)
    if manifest is not None:
        (folder / entries.MANIFEST).write_bytes(manifest)
    return folder


MANIFEST: dict[str, object] = {
    "manifest_version": 1, "package": "libamdhip64-5", "version": "5.2.3-8",
    "runtime": "lib/libamdhip64.so.5.2.21153", "library_dirs": ["lib"], "packages": [],
    "fetched": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def test_an_empty_machine_says_where_it_was_looked(empty_machine: Path) -> None:
    found = find.find()
    assert found.candidates == ()
    assert found.looked == (
        "torch (not installed): none",
        "/opt/rocm (absent): none",
        "the dynamic loader's directories: none",
        "xdiag's cache: none",
    )


def test_torch_is_found_and_not_imported(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "torch"
    compile_library(package / "lib" / "libamdhip64.so", SOURCE)
    (package / "__init__.py").write_text("raise SystemExit('torch was imported')")
    (package / "version.py").write_text(
        "cuda: Optional[str] = None\nhip: Optional[str] = '6.3.42133-1b9c17779'\n"
    )
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    found = [each for each in find.find().candidates if each.source == "torch"]
    assert [Path(each.path).name for each in found] == ["libamdhip64.so"]
    assert found[0].version == "6.3.42133"
    assert "torch" not in sys.modules


def test_rocm_wheels_and_prefixes(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = compile_library(
        tmp_path / "site/_rocm_sdk_core/lib/libamdhip64.so.7", SOURCE + "int a;"
    )
    (tmp_path / "site" / "rocm_sdk_core-7.0.dist-info").mkdir()
    prefix = compile_library(tmp_path / "rocm/lib/libamdhip64.so.6.1.40091", SOURCE + "int b;")
    show_python(monkeypatch, tmp_path / "site", tmp_path / "absent")
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "rocm"))
    found = find.find()
    assert {each.path: each.version for each in found.candidates} == {
        str(wheel): "7",
        str(prefix): "6.1.40091",
    }
    assert {each.source for each in found.candidates} == {"rocm"}


def test_one_file_of_many_names_is_one_candidate(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "rocm" / "lib"
    real = compile_library(folder / "libamdhip64.so.6.1.40091", SOURCE)
    (folder / "libamdhip64.so.6").symlink_to(real.name)
    (folder / "libamdhip64.so").symlink_to("libamdhip64.so.6")
    (folder / "libamdhip64.so.5").symlink_to("gone")
    (folder / "libamdhip64.so.debug").write_text("")
    other = tmp_path / "elsewhere"
    other.mkdir()
    os.link(real, other / "libamdhip64.so.6")
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "rocm"))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{other}::")
    (candidate,) = find.find().candidates
    assert [Path(name).name for name in candidate.names] == [
        "libamdhip64.so", "libamdhip64.so.6", "libamdhip64.so.6.1.40091", "libamdhip64.so.6",
    ]  # fmt: skip
    assert candidate.real_path == str(real)
    assert candidate.version == "6.1.40091"
    assert candidate.library_dirs == (str(folder), str(other))


def test_a_broken_runtime_is_listed_with_its_problem_and_never_used(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "rocm" / "lib" / "libamdhip64.so.6"
    broken.parent.mkdir(parents=True)
    broken.write_text("a pointer of Git LFS")
    monkeypatch.setenv("ROCM_PATH", str(tmp_path / "rocm"))
    found = find.find()
    assert "not an ELF file" in found.candidates[0].problem
    assert found.usable() == ()


@pytest.fixture
def loader_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the loader's cache be one that ldconfig makes of some directories."""

    def make(*folders: Path) -> None:
        built = tmp_path / "ld.so.cache"
        config = tmp_path / "ld.so.conf"
        config.write_text("".join(f"{folder}\n" for folder in folders))
        program = shutil.which("ldconfig", path=f"{os.environ.get('PATH')}:/usr/sbin:/sbin")
        if program is None:
            pytest.skip("no ldconfig here")
        subprocess.run([program, "-X", "-f", config, "-C", built], check=True)
        monkeypatch.setattr(find, "_loader_cache", lambda: str(built))

    return make


def test_the_loader_cache_is_read(
    empty_machine: Path, tmp_path: Path, loader_cache: Callable[..., None]
) -> None:
    library = compile_library(tmp_path / "a b" / "libamdhip64.so.6", SOURCE)
    loader_cache(library.parent)
    assert [each.path for each in find.find().candidates] == [str(library)]
    assert find.loader_finds("libamdhip64.so.6") == str(library)
    assert find.loader_finds("libamdhip64.so.5") == ""


def test_the_usual_directories_are_looked_at_with_and_without_a_cache(
    empty_machine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loader_cache: Callable[..., None],
) -> None:
    library = compile_library(tmp_path / "libamdhip64.so.6", SOURCE)
    other = compile_library(tmp_path / "elsewhere" / "libamdhip64.so.5", SOURCE)
    monkeypatch.setattr(libraries, "usual_folders", lambda: (str(tmp_path),))
    assert [each.path for each in find.find().candidates] == [str(library)]
    loader_cache(other.parent)
    assert {each.path for each in find.find().candidates} == {str(library), str(other)}


def test_what_only_bears_the_name_is_no_candidate(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = compile_library(tmp_path / "lib" / "libshimhip.so", SOURCE)
    (shim.parent / "libamdhip64.so").symlink_to(shim.name)
    (shim.parent / "libamdhip64.so.6").symlink_to("gone")
    compile_library(shim.parent / "libamdhip64_stub.so", SOURCE)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(shim.parent))
    assert find.find().candidates == ()


def test_a_named_runtime_may_be_called_anything(empty_machine: Path, tmp_path: Path) -> None:
    library = compile_library(tmp_path / "build" / "hip.so", SOURCE)
    candidate = find.from_option(str(library))
    assert (candidate.source, candidate.path) == ("option", str(library))
    assert candidate.library_dirs == (str(library.parent),)


def test_entries_of_the_cache(empty_machine: Path) -> None:
    folder = _entry(empty_machine, "libamdhip64-5_5.2.3-8", MANIFEST)
    (candidate,) = find.find().candidates
    assert candidate.source == "cache"
    assert candidate.package == "libamdhip64-5 5.2.3-8"
    assert candidate.version == "5.2.21153"
    assert candidate.library_dirs == (str(folder / "lib"),)
    named = find.from_option(candidate.path)
    assert (named.source, named.package) == ("option", "libamdhip64-5 5.2.3-8")


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        b"",
        b"{",
        b"[]",
        {**MANIFEST, "manifest_version": 3},
        {**MANIFEST, "manifest_version": 0},
        {**MANIFEST, "runtime": "lib/gone.so"},
        {**MANIFEST, "runtime": "../other/lib/libamdhip64.so.5.2.21153"},
        {**MANIFEST, "runtime": "/bin/sh"},
        {"manifest_version": 1},
    ],
)
def test_an_entry_that_is_not_whole_does_not_count(
    empty_machine: Path, manifest: dict[str, object] | bytes | None
) -> None:
    _entry(empty_machine, "libamdhip64-5_5.2.3-8", manifest)
    assert entries.every() == ()
    assert find.find().candidates == ()


def test_an_entry_in_the_making_does_not_count(empty_machine: Path) -> None:
    _entry(empty_machine, ".partial-x", MANIFEST)
    assert entries.every() == ()


def test_no_entry_name_breaks_a_search_path() -> None:
    assert entries.name_of("libamdhip64-5", "1:5.2/3%-8") == "libamdhip64-5_1%3a5.2%2f3%25-8"


def test_the_newest_comes_first() -> None:
    def made(version: str) -> Candidate:
        return Candidate(
            path=version, real_path=version, device=1, inode=1, source="rocm", version=version
        )

    found = Found(tuple(map(made, ("5.2.21153", "", "6.10.1", "6.9.3", "7"))), ())
    assert [each.version for each in found.usable()] == ["7", "6.10.1", "6.9.3", "5.2.21153", ""]


def test_a_named_runtime_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="no such file"):
        find.from_option(str(tmp_path / "gone.so"))
