"""Files that have more than one place: bind mounts, overlays, subvolumes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from loaded.conftest import in_child

from xdiag import loaded

#: Mounts, loads the files in turn and tells which files os.stat takes them for.
MOUNT_AND_LOAD = """
import subprocess
done = subprocess.run(os.environ["MOUNT"], shell=True, capture_output=True, text=True)
if done.returncode:
    answer(done.stderr)
    sys.exit()
facts = []
for path in paths:
    load(path)
    status = os.stat(path)
    facts.append((status.st_dev, status.st_ino))
answer((facts, loaded.loaded_runtimes()))
"""


def _mounted(mount: str, wrapper: tuple[str, ...], *paths: Path) -> tuple[list, tuple]:
    """(device, inode) of the paths, and the copies, after they were loaded in turn."""
    told = in_child(MOUNT_AND_LOAD, *paths, wrapper=wrapper, MOUNT=mount)
    if isinstance(told, str):
        pytest.skip(f"cannot be mounted here: {told.strip()}")
    return told


def test_a_bind_mount_is_no_second_copy(
    library: Path, tmp_path: Path, own_mounts: tuple[str, ...]
) -> None:
    (tmp_path / "file.so").touch()
    (tmp_path / "folder").mkdir()
    mount = (
        f"mount --bind {library} {tmp_path}/file.so"
        f" && mount --bind {library.parent} {tmp_path}/folder"
    )
    (first, *others), (copy,) = _mounted(
        mount, own_mounts, library, tmp_path / "folder" / library.name, tmp_path / "file.so"
    )
    assert others == [first, first]
    assert (copy.device, copy.inode) == first
    assert copy.path == str(library)


def test_an_overlay_and_the_directory_below_it(
    library: Path, tmp_path: Path, own_mounts: tuple[str, ...]
) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    below = Path(shutil.copy(library, tmp_path / "lower" / "libamdhip64.so.6"))
    mount = (
        f"mount -t tmpfs none {tmp_path}/work && mkdir {tmp_path}/work/u {tmp_path}/work/w"
        " && mount -t overlay none -o"
        f" lowerdir={tmp_path}/lower,upperdir={tmp_path}/work/u,workdir={tmp_path}/work/w"
        f" {tmp_path}/merged"
    )
    merged = tmp_path / "merged" / below.name
    _, (copy,) = _mounted(mount, own_mounts, merged)
    assert copy.path == str(merged)
    # The loader goes by os.stat, which takes the two for different files: it loads both.
    facts, copies = _mounted(mount, own_mounts, merged, below)
    assert facts[0][0] != facts[1][0]
    assert [copy.path for copy in copies] == [str(merged), str(below)]


def test_files_of_equal_number_in_two_subvolumes(
    library: Path, tmp_path: Path, own_mounts: tuple[str, ...]
) -> None:
    if not shutil.which("mkfs.btrfs") or not shutil.which("btrfs"):
        pytest.skip("no btrfs-progs here")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = (
        f"mount -o loop {image} {folder} && btrfs -q subvolume create {folder}/a"
        f" && cp {library} {folder}/a/libamdhip64.so"
        f" && btrfs -q subvolume snapshot {folder}/a {folder}/b"
    )
    paths = [folder / name / "libamdhip64.so" for name in "ab"]
    facts, copies = _mounted(mount, own_mounts, *paths)
    assert facts[0][0] != facts[1][0] and facts[0][1] == facts[1][1]
    assert [copy.path for copy in copies] == [str(path) for path in paths]
    assert [copy.order for copy in copies] == [0, 1]
    assert "loaded twice" not in loaded.describe(copies)
