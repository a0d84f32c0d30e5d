"""Second files of a runtime: made once, made again when they are wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runtimes.conftest import compile_library
from xdiag.model import Target
from xdiag.runtimes.copies import copies

SOURCE = "int hipInit(unsigned flags) { return (int)flags; }"


@pytest.fixture
def target(tmp_path: Path, empty_machine: Path) -> Target:
    runtime = compile_library(
        tmp_path / "libamdhip64.so.6.1.2", SOURCE, "-Wl,-soname,libamdhip64.so.6"
    )
    return Target(platform="hip", runtime=str(runtime), agent="software")


def test_a_copy_and_a_link(target: Target, empty_machine: Path) -> None:
    paths = copies(target)
    first, copy, link = map(Path, (paths.first, paths.copy, paths.link))
    assert str(first) == target.runtime
    assert copy.name == "libamdhip64.so.6"
    assert copy.is_relative_to(empty_machine / "copies")
    assert copy.read_bytes() == first.read_bytes()
    assert not copy.samefile(first)
    assert link.is_symlink()
    assert link.samefile(first)
    assert link.name not in (first.name, copy.name)


def test_both_files_go_by_the_librarys_names(target: Target) -> None:
    paths = copies(target)
    assert (paths.soname, paths.name) == ("libamdhip64.so.6", "libamdhip64.so")
    for directory, file in (
        (paths.first_directory, paths.first),
        (paths.copy_directory, paths.copy),
    ):
        for name in (paths.soname, paths.name):
            assert (Path(directory) / name).samefile(file)
    assert not Path(paths.first).samefile(paths.copy)


@pytest.mark.parametrize(
    ("soname", "names"), [("", ("", "")), ("libamdhip64.so", ("libamdhip64.so",) * 2)]
)
def test_a_library_without_versions(
    tmp_path: Path, empty_machine: Path, soname: str, names: tuple[str, str]
) -> None:
    # The linker leaves an empty one out.
    runtime = compile_library(tmp_path / "libamdhip64.so", SOURCE, f"-Wl,-soname,{soname}")
    paths = copies(Target(platform="hip", runtime=str(runtime), agent="software"))
    assert (paths.soname, paths.name) == names
    assert not Path(paths.copy).samefile(runtime)


def test_they_are_used_again_and_mended(target: Target) -> None:
    paths = copies(target)
    copy, link = Path(paths.copy), Path(paths.link)
    inode = copy.stat().st_ino
    assert copies(target) == paths
    assert copy.stat().st_ino == inode
    copy.write_bytes(b"cut short")
    link.unlink()
    link.symlink_to("/nowhere")
    assert copies(target) == paths
    assert copy.read_bytes() == Path(target.runtime).read_bytes()
    assert link.samefile(target.runtime)
    # A link in the copy's place is the same file: no second copy at all.
    copy.unlink()
    copy.symlink_to(target.runtime)
    copies(target)
    assert not copy.samefile(target.runtime)
    names = {copy.name, link.name, paths.name, Path(paths.first_directory).name}
    assert {each.name for each in copy.parent.iterdir()} == names


def test_a_name_from_the_file_leads_nowhere_else(tmp_path: Path, empty_machine: Path) -> None:
    runtime = compile_library(tmp_path / "evil.so", SOURCE, "-Wl,-soname,../../evil")
    paths = copies(Target(platform="hip", runtime=str(runtime), agent="software"))
    assert Path(paths.copy).name == "evil.so"
    assert paths.soname == ""
    assert not list(Path(paths.first_directory).iterdir())


def test_without_a_cache_they_go_with_the_process(target: Target, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    program = (
        "import os, sys\n"
        "from xdiag.model import Target\n"
        "from xdiag.runtimes.copies import copies\n"
        "paths = copies(Target(platform='hip', runtime=sys.argv[1], agent='software'))\n"
        "if os.fork() == 0: sys.exit()\n"
        "os.wait()\n"
        "print(paths.copy, os.path.exists(paths.copy), os.path.samefile(paths.link, sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, target.runtime], text=True, capture_output=True, check=True,
        cwd=Path(__file__).parents[2],
        env={"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    copy, existed, linked = done.stdout.split()
    assert (existed, linked) == ("True", "True")
    assert Path(copy).is_relative_to(tmp_path)
    assert not Path(copy).parent.exists()
