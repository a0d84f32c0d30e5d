"""Which copies are in a process: told by what the kernel mapped, whatever the files are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes.conftest import compile_library

from process.conftest import HIP, Opener, needs_mounts
from xdiag.process.facts import Copy, ProcessFacts
from xdiag.process.look import look

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


def _hip(facts: ProcessFacts) -> list[Copy]:
    return [copy for copy in facts.copies if copy.family == "libamdhip64"]


def _paths(facts: ProcessFacts) -> list[str]:
    return [copy.object.path for copy in _hip(facts)]


def test_two_identical_files_are_two_copies_in_the_order_of_loading(
    start: Start, runtime: Runtime
) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    for first, second in ((a, b), (b, a)):
        facts = look(start(f"open {first}", f"open {second}").pid)
        assert _paths(facts) == [str(first), str(second)]
        for copy, file in zip(_hip(facts), (first, second), strict=True):
            status = file.stat()
            assert (copy.object.device, copy.object.inode) == (status.st_dev, status.st_ino)
            assert copy.object.soname == "libamdhip64.so.6" and copy.version == "6"
        assert facts.link_map_problem == "" and facts.namespaces == 1


def test_one_file_of_many_names_is_one_copy(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    real = runtime("a/libamdhip64.so.6")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "libamdhip64.so").symlink_to(real)
    os.link(real, tmp_path / "b" / "libamdhip64.so.6")
    facts = look(
        start(
            f"open {real}", f"open {tmp_path}/link/libamdhip64.so.6",
            f"open {tmp_path}/b/libamdhip64.so", f"open {tmp_path}/b/libamdhip64.so.6",
        ).pid
    )  # fmt: skip
    assert _paths(facts) == [str(real)]


def test_a_copy_asked_for_by_a_link_keeps_the_name_it_was_asked_for(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    real = runtime("a/libamdhip64.so.6.4.60403")
    (tmp_path / "libamdhip64.so").symlink_to(real)
    (copy,) = _hip(look(start(f"open {tmp_path}/libamdhip64.so").pid))
    assert copy.object.path == str(real)
    assert copy.object.name == f"{tmp_path}/libamdhip64.so"
    assert copy.version == "6.4.60403" and copy.major == 6


@pytest.mark.parametrize(
    "names",
    [
        ("libamdhip64.so", "libamdhip64.so.6"),
        ("libamdhip64.so.6.4.60403", "libamdhip64.so.6.3"),
        ("libamdhip64-1a2b3c4d.so.6.4", "libamdhip64.so.6"),
        ("renamed.so", "plugin.bin"),
    ],
)
def test_the_soname_counts_and_not_the_files_name(
    start: Start, runtime: Runtime, names: tuple[str, str]
) -> None:
    files = [runtime(f"{place}/{name}") for place, name in enumerate(names)]
    assert _paths(look(start(*(f"open {file}" for file in files)).pid)) == list(map(str, files))


def test_what_only_goes_by_the_name_is_no_runtime(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    stub = compile_library(tmp_path / "libhip_stub.so", HIP)
    shim = compile_library(tmp_path / "libamdhip64.so.1", HIP, "-Wl,-soname,libshimhip.so")
    other = compile_library(tmp_path / "libamdhip64_extra.so.6", HIP)
    real = runtime("a/libamdhip64.so.6")
    facts = look(start(*(f"open {each}" for each in (stub, shim, other, real))).pid)
    assert _paths(facts) == [str(real)]
    assert facts.look_alikes == (str(shim),)
    assert [each.path for each in facts.of_family("xsched")] == [str(shim)]


def test_without_a_soname_the_files_name_counts(start: Start, tmp_path: Path) -> None:
    bare = compile_library(tmp_path / "libamdhip64.so", HIP, "-Wl,-soname,")
    facts = look(start(f"open {bare}").pid)
    assert _paths(facts) == [str(bare)]
    assert _hip(facts)[0].object.soname == ""


def test_a_file_in_two_namespaces_is_two_copies(start: Start, runtime: Runtime) -> None:
    real = runtime("a/libamdhip64.so.6")
    facts = look(start(f"open {real}", f"new {real}").pid)
    assert _paths(facts) == [str(real)] * 2
    one, other = (copy.object for copy in _hip(facts))
    assert (one.device, one.inode) == (other.device, other.inode)
    assert one.address != other.address
    if facts.link_map_problem == "":  # glibc 2.35 and later
        assert (one.namespace, other.namespace) == (0, 1) and facts.namespaces == 2
    else:
        assert one.namespace == 0 and other.namespace is None


def test_a_closed_copy_is_gone(start: Start, runtime: Runtime) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {a}", f"open {b}", "close")
    assert _paths(look(opener.pid)) == [str(a)]


def test_a_file_that_is_only_read_is_no_copy(runtime: Runtime, tmp_path: Path) -> None:
    import mmap

    real = runtime("a/libamdhip64.so.6")
    with real.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        assert str(real) in Path("/proc/self/maps").read_text()
        assert _paths(look(os.getpid())) == []


def test_a_forked_child_has_the_copies_of_its_parent(start: Start, runtime: Runtime) -> None:
    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {a}", f"open {b}")
    child = int(opener.tell("fork"))
    try:
        assert _paths(look(child)) == _paths(look(opener.pid)) == [str(a), str(b)]
    finally:
        os.kill(child, 9)


@pytest.mark.parametrize(
    "name", ["a\nb", "tab\tand  space ", "gone (deleted)", "\udcff\udcfe", "ü"]
)
def test_names_that_maps_write_in_a_way_of_their_own(
    start: Start, runtime: Runtime, tmp_path: Path, name: str
) -> None:
    real = runtime(f"{name}/libamdhip64.so.6")
    link = tmp_path / "link.so"
    link.symlink_to(real)
    (copy,) = _hip(look(start(f"open {link}").pid))
    assert copy.object.path == str(real)
    assert copy.object.at_path == "same"


def test_a_file_whose_name_ends_as_if_it_were_deleted(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    real = runtime("libamdhip64.so.6 (deleted)")
    (copy,) = _hip(look(start(f"open {real}").pid))
    assert (copy.object.path, copy.object.at_path) == (str(real), "same")
    real.unlink()
    # Which of the two it was called cannot be known any more.
    (copy,) = _hip(look(start(f"open {runtime('libamdhip64.so.6 (deleted)')}").pid))
    assert copy.object.at_path == "same"


def test_a_removed_file_is_known_by_what_the_kernel_kept(start: Start, runtime: Runtime) -> None:
    real = runtime("a/libamdhip64.so.6")
    opener = start(f"open {real}")
    inode = real.stat().st_ino
    real.unlink()
    (copy,) = _hip(look(opener.pid))
    assert (copy.object.path, copy.object.inode) == (str(real), inode)
    assert copy.object.at_path == "gone" and copy.object.soname == "libamdhip64.so.6"


def test_a_renamed_and_removed_file_is_still_known(start: Start, runtime: Runtime) -> None:
    real = runtime("plugin.so")
    opener = start(f"open {real}")
    real.unlink()
    assert _paths(look(opener.pid)) == [str(real)]


def test_a_replaced_file_opened_again_is_a_second_copy(
    start: Start, runtime: Runtime, built: Path
) -> None:
    real = runtime("a/libamdhip64.so.6")
    opener = start(f"open {real}")
    shutil.copy(built, real.with_name("new"))
    os.replace(real.with_name("new"), real)
    (copy,) = _hip(look(opener.pid))
    assert copy.object.at_path == "other"
    # By the name that it was opened by, the loader finds the first one again.
    opener.tell(f"open {real}")
    assert len(_hip(look(opener.pid))) == 1
    opener.tell(f"open {real.parent}/../a/{real.name}")
    first, second = _hip(look(opener.pid))
    assert first.object.path == second.object.path == str(real)
    assert (first.object.at_path, second.object.at_path) == ("other", "same")


@pytest.mark.parametrize("thing", ["fifo", "directory", "dangling", "loop"])
def test_what_takes_a_removed_files_place_is_not_opened(
    start: Start, runtime: Runtime, thing: str
) -> None:
    real = runtime("a/libamdhip64.so.6")
    opener = start(f"open {real}")
    real.unlink()
    if thing == "fifo":
        os.mkfifo(real)
    elif thing == "directory":
        real.mkdir()
    else:
        real.symlink_to("nowhere" if thing == "dangling" else real.name)
    (copy,) = _hip(look(opener.pid))
    assert copy.object.at_path == "other" and copy.object.soname == "libamdhip64.so.6"


# ---- mounts ----------------------------------------------------------------------------------

INSIDE = ["unshare", "-m", "sh", "-c"]


def _inside(script: str, program: Path) -> list[str]:
    return [*INSIDE, f'{script} && exec "$0"', str(program)]


@needs_mounts
def test_a_bind_mount_is_the_same_file(
    start: Start, runtime: Runtime, tmp_path: Path, program: Path
) -> None:
    real = runtime("a/libamdhip64.so.6")
    (tmp_path / "b").mkdir()
    opener = start(
        f"open {real}", f"open {tmp_path}/b/libamdhip64.so.6",
        before=_inside(f"mount --bind {tmp_path}/a {tmp_path}/b", program),
    )  # fmt: skip
    assert _paths(look(opener.pid)) == [str(real)]


@needs_mounts
def test_files_of_another_mount_namespace_are_read_there(
    start: Start, runtime: Runtime, tmp_path: Path, program: Path
) -> None:
    real = runtime("a/libamdhip64.so.6")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    script = f"mount -t tmpfs none {hidden} && cp {real} {hidden}/plugin.so"
    opener = start(
        f"open {hidden}/plugin.so", f"open {real}", before=_inside(script, program)
    )  # fmt: skip
    assert not (hidden / "plugin.so").exists()
    facts = look(opener.pid)
    assert _paths(facts) == [f"{hidden}/plugin.so", str(real)]
    assert {copy.object.at_path for copy in _hip(facts)} == {"same"}
    assert facts.other_namespaces == ("mnt",)


@needs_mounts
def test_a_mount_over_a_loaded_file_is_another_file(
    start: Start, runtime: Runtime, tmp_path: Path, program: Path
) -> None:
    real, other = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    opener = start(f"open {real}", before=_inside("true", program))
    subprocess.run(
        ["nsenter", "-t", str(opener.pid), "-m", "mount", "--bind", str(other), str(real)],
        check=True,
    )
    (copy,) = _hip(look(opener.pid))
    assert copy.object.inode == real.stat().st_ino  # ours is not mounted over
    assert copy.object.at_path == "other" and copy.object.soname == "libamdhip64.so.6"


@needs_mounts
@pytest.mark.parametrize("where", ["tmpfs", "disk"])
def test_an_overlay_shows_its_files_as_themselves(
    start: Start, runtime: Runtime, tmp_path: Path, program: Path, where: str
) -> None:
    """Lower, upper and merged: maps and stat may disagree on the device; copies are counted."""
    real = runtime("lower/libamdhip64.so.6")
    base = tmp_path / "overlay"
    base.mkdir()
    # A layer on a file system of its own makes stat show a device that no other call shows.
    mount = f"mount -t tmpfs none {base} && " if where == "tmpfs" else ""
    script = (
        f"{mount} mkdir -p {base}/up {base}/work {base}/merged && mount -t overlay overlay"
        f" -o lowerdir={tmp_path}/lower,upperdir={base}/up,workdir={base}/work {base}/merged"
        f" && cp {real} {base}/merged/upper.so"
    )
    opener = start(
        f"open {base}/merged/libamdhip64.so.6", f"open {base}/merged/upper.so",
        before=_inside(script, program),
    )  # fmt: skip
    facts = look(opener.pid)
    assert _paths(facts) == [f"{base}/merged/libamdhip64.so.6", f"{base}/merged/upper.so"]
    assert {copy.object.at_path for copy in _hip(facts)} == {"same"}
    # The loader takes the file below for another one, and so does the count, although some kernels
    # show the same device and inode for both.
    opener.tell(f"open {real}")
    assert len(_hip(look(opener.pid))) == 3


@needs_mounts
def test_a_changed_root_in_the_same_mount_namespace(
    start: Start, runtime: Runtime, tmp_path: Path, program: Path
) -> None:
    jail = tmp_path / "jail"
    for line in subprocess.run(
        ["ldd", program], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        for path in (part for part in line.split() if part.startswith("/")):
            (jail / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, jail / path[1:])
    shutil.copy(program, jail / "opener")
    real = runtime("jail/lib/libamdhip64.so.6")
    opener = start(
        "open /lib/libamdhip64.so.6", before=["chroot", str(jail), "/opener"]
    )  # fmt: skip
    (copy,) = _hip(look(opener.process.pid))
    assert (copy.object.path, copy.object.at_path) == (str(real), "same")
    assert copy.object.name == "/lib/libamdhip64.so.6"
