"""Every file of a runtime is listed once, under all its names; every copy is told from a name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtimes.conftest import compile_library

from discover.conftest import HERE, HIP, bounded, copied, needs_root, put
from xdiag.discover import libraries, rocm, tree
from xdiag.discover.libraries import Libraries, Place
from xdiag.discover.names import SHIM, as_text, family_of, version_in
from xdiag.discover.rocm import Installation, Wheel
from xdiag.discover.root import Root
from xdiag.discover.torch import Torch


def _in(*folders: Path | str, root: Root = HERE) -> Libraries:
    return libraries.find(root, [Place("system", "here", tuple(map(str, folders)))])


# ---- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family", "version"),
    [
        ("libamdhip64.so", "libamdhip64", ""),
        ("libamdhip64.so.6", "libamdhip64", "6"),
        ("libamdhip64.so.6.4.60403", "libamdhip64", "6.4.60403"),
        ("libamdhip64.so.4.4.21432-f9dccde4", "libamdhip64", "4.4.21432"),
        ("libamdhip64-1a2b3c4d.so.6.4.60403", "libamdhip64", "6.4.60403"),
        ("libhsa-runtime64.so.1.15.60403", "libhsa-runtime64", "1.15.60403"),
        ("libamd_comgr.so.3", "libamd_comgr", "3"),
        ("librccl.so.1.0", "librccl", "1.0"),
        ("libhiprtc.so.6", "libhiprtc", "6"),
        ("libamdhip64_stub.so", "", None),
        ("libhip_stub.so", "", None),
        ("libamdhip64.so.debug", "", None),
        ("libamdhip64.so.6.debug", "", None),
        ("libamdhip64.a", "", None),
        ("libamdhip64.so~", "", None),
        ("xlibamdhip64.so", "", None),
        ("libhiprtc-builtins.so.6", "", None),
        ("libamd_comgr_loader.so", "", None),
        ("", "", None),
    ],
)
def test_names(name: str, family: str, version: str | None) -> None:
    assert family_of(name) == family
    if version is not None:
        assert version_in(name) == version


@given(st.text(max_size=20))
def test_any_name(name: str) -> None:
    assert family_of("libamdhip64.so." + name) in ("", "libamdhip64")
    as_text(name).encode()


# ---- one file, many names ------------------------------------------------------------------------


def test_names_links_and_hardlinks_are_one_file(hip: Path, tmp_path: Path) -> None:
    real = copied(hip, tmp_path / "lib" / "libamdhip64.so.6.4.60403")
    (real.parent / "libamdhip64.so.6").symlink_to(real.name)
    (real.parent / "libamdhip64.so").symlink_to("libamdhip64.so.6")
    (tmp_path / "other").mkdir()
    os.link(real, tmp_path / "other" / "libamdhip64.so.6")
    (tmp_path / "linked").symlink_to("lib")
    (file,) = _in(*(tmp_path / each for each in ("lib", "other", "linked", "absent"))).files
    assert [os.path.relpath(name, tmp_path) for name in file.names] == [
        "lib/libamdhip64.so", "lib/libamdhip64.so.6", "lib/libamdhip64.so.6.4.60403",
        "other/libamdhip64.so.6",
    ]  # fmt: skip
    assert file.real_path == str(real)
    assert (file.device, file.inode) == (real.stat().st_dev, real.stat().st_ino)
    assert file.size == real.stat().st_size
    assert (file.family, file.version, file.soname) == (
        "libamdhip64", "6.4.60403", "libamdhip64.so.6",
    )  # fmt: skip
    assert file.library_dirs == (str(tmp_path / "lib"), str(tmp_path / "other"))
    assert file.rpath == ("$ORIGIN",)
    assert not file.problem


def test_copies_are_other_files(hip: Path, tmp_path: Path) -> None:
    one = copied(hip, tmp_path / "a" / "libamdhip64.so.6")
    copied(hip, tmp_path / "b" / "libamdhip64.so.6")
    copied(hip, tmp_path / "c" / "libamdhip64.so.6", build=1)
    patched = copied(hip, tmp_path / "d" / "libamdhip64-1a2b3c4d.so.6")
    patched.write_bytes(hip.read_bytes() + b"\0" * 16)
    os.link(one, tmp_path / "b" / "libamdhip64.so")
    found = _in(*(tmp_path / each for each in "abcd"))
    assert len(found.files) == 4
    assert found.looked == ("here: 5 files",)
    (group,) = libraries.copies(found.files, HERE)
    assert group.same == "build id"
    assert [os.path.relpath(each.path, tmp_path)[0] for each in group.files] == ["a", "b", "d"]
    (group,) = libraries.copies([each for each in found.files if "/d/" not in each.path], HERE)
    assert group.same == "bytes"
    assert libraries.copies(found.files[:1], HERE) == ()


def test_copies_without_a_build_id_are_compared_by_bytes(tmp_path: Path) -> None:
    first = compile_library(tmp_path / "a" / "libamdhip64.so.6", HIP, "-Wl,--build-id=none")
    copied(first, tmp_path / "b" / "libamdhip64.so.6")
    other = copied(first, tmp_path / "c" / "libamdhip64.so.6")
    other.write_bytes(first.read_bytes()[:-1] + b"\1")
    copied(other, tmp_path / "d" / "libamdhip64.so.6")
    found = _in(*(tmp_path / each for each in "abcd")).files
    assert not any(each.build_id for each in found)
    groups = libraries.copies(found, HERE)
    assert [[each.path.split("/")[-2] for each in group.files] for group in groups] == [
        ["a", "b"], ["c", "d"],
    ]  # fmt: skip
    assert {group.same for group in groups} == {"bytes"}


@needs_root
def test_bind_mounts_are_one_file_and_overlays_are_told_as_they_are(
    hip: Path, tmp_path: Path
) -> None:
    """What the loader would compare is device and inode as stat has them, in that mount."""
    copied(hip, tmp_path / "lib" / "libamdhip64.so.6")
    for name in ("bound", "upper", "work", "over"):
        (tmp_path / name).mkdir()
    program = f"""
import sys
from xdiag.discover import libraries
from xdiag.discover.libraries import Place
from xdiag.discover.root import Root
for other in ("bound", "over"):
    place = Place("system", "here", tuple(f"{tmp_path}/" + each for each in ("lib", other)))
    print(len(libraries.find(Root(), [place]).files))
"""
    script = (
        f"cd {tmp_path} && mount --bind lib bound &&"
        f" mount -t overlay overlay -o lowerdir=lib,upperdir=upper,workdir=work over &&"
        f" exec {os.sys.executable} -c '{program}'"  # type: ignore[attr-defined]
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    bound, over = map(int, done.stdout.split())
    assert bound == 1
    # An overlay shows its own device: to the loader that is another file.
    assert over == 2


# ---- what is wrong with a file -------------------------------------------------------------------


def test_problems(hip: Path, tmp_path: Path) -> None:
    (tmp_path / "libamdhip64.so.1").symlink_to("gone")
    (tmp_path / "libamdhip64.so.2").symlink_to("libamdhip64.so.2")
    put(tmp_path / "libamdhip64.so.3", "version https://git-lfs.github.com/spec/v1")
    narrow = bytearray(hip.read_bytes())
    narrow[4] = 1
    put(tmp_path / "libamdhip64.so.4", bytes(narrow))
    put(tmp_path / "libamdhip64.so.5", hip.read_bytes()[:400])
    compile_library(tmp_path / "libamdhip64.so.6", "int hip_is_not_here;")
    (tmp_path / "libamdhip64.so.7").mkdir()
    os.mkfifo(tmp_path / "libamdhip64.so.8")
    put(tmp_path / "libhsa-runtime64.so.1")
    strange = os.fsdecode(b"\xff")
    (tmp_path / "libamdhip64.so.9").symlink_to(strange)
    found = _in(tmp_path)
    problems = {each.path.rpartition("/")[2]: each.problem for each in found.files}
    says = {
        "libamdhip64.so.1": "leads nowhere (No such file",
        "libamdhip64.so.2": "leads nowhere (Too many levels",
        "libamdhip64.so.3": "not an ELF file",
        "libamdhip64.so.4": "32-bit",
        "libamdhip64.so.5": "damaged",
        "libamdhip64.so.6": "does not export hipInit",
        "libamdhip64.so.7": "cannot be read",
        "libamdhip64.so.8": "cannot be read: not a regular file",
        "libhsa-runtime64.so.1": "an empty file",
    }
    assert set(problems) == set(says)
    for name, text in says.items():
        assert text in problems[name], name
        assert "\n" not in problems[name]
    assert [each.is_there for each in found.files][:3] == [False, False, True]
    assert msgspec.json.decode(msgspec.json.encode(found), type=Libraries) == found
    assert libraries.copies(found.files, HERE) == ()


def test_names_in_a_file_that_are_no_text_can_be_shown(tmp_path: Path) -> None:
    library = compile_library(tmp_path / "libamdhip64.so.6", HIP, "-Wl,-rpath,/needle")
    library.write_bytes(library.read_bytes().replace(b"/needle", b"/need\xff\x01"))
    found = _in(tmp_path)
    assert found.files[0].rpath == ("/need\\udcff\x01",)
    msgspec.json.encode(found)


def test_xscheds_shim_is_no_copy(tmp_path: Path) -> None:
    shim = compile_library(tmp_path / "libshimhip.so", HIP)
    (tmp_path / "libamdhip64.so").symlink_to(shim.name)
    (tmp_path / "libamdhip64.so.1").symlink_to(shim.name)
    found = _in(tmp_path)
    assert [each.family for each in found.files] == [SHIM]
    assert len(found.files[0].names) == 2
    assert found.of("libamdhip64") == ()


# ---- places --------------------------------------------------------------------------------------


def test_places_in_their_order(hip: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    site = "/opt/venv/lib/python3.11/site-packages"
    for number, path in enumerate(
        (
            f"{site}/torch/lib/libamdhip64.so",
            f"{site}/_rocm_sdk_core/lib/libamdhip64.so.7",
            "/opt/rocm-6.4.3/lib/libamdhip64.so.6.4.60403",
            f"{site}/vendor.libs/libamdhip64-1a2b3c4d.so.6.1.40091",
            "/usr/lib/x86_64-linux-gnu/libamdhip64.so.5.7.1",
            "/srv/lib/libamdhip64.so.6",
        )
    ):
        copied(hip, image / path[1:], build=number)
    (image / "lib").symlink_to("usr/lib")
    root = Root(image)
    torch = Torch(f"{site}/torch", "2.9.0+rocm6.4", "6.4.43484-1", library_dir=f"{site}/torch/lib")
    wheel = Wheel("_rocm_sdk_core", f"{site}/_rocm_sdk_core",
                  library_dirs=(f"{site}/_rocm_sdk_core/lib",))  # fmt: skip
    walked = tree.walk([site], root)
    environ = {"LD_LIBRARY_PATH": "/srv/absent:/srv/lib;:"}
    cached = ["/lib/x86_64-linux-gnu/libamdhip64.so.5.7.1", "/lib/x86_64-linux-gnu/libm.so.6"]
    found = libraries.find(
        root,
        [
            *libraries.in_torch([torch]),
            *libraries.in_rocm(rocm.installations(root, {}), [wheel]),
            *libraries.in_packages(walked),
            libraries.in_system(environ, cached, ("/usr/lib/x86_64-linux-gnu", "/lib")),
        ],
    )
    assert [(each.source, each.package, each.version) for each in found.files] == [
        ("torch", "torch", "6.4.43484"),
        ("rocm", "_rocm_sdk_core", "7"),
        ("rocm", "", "6.4.60403"),
        ("package", "vendor", "6.1.40091"),
        ("system", "", "6"),
        ("system", "", "5.7.1"),
    ]
    assert [each.rpartition("/")[0] for each in found.files[-1].names] == [
        "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu",
    ]  # fmt: skip
    assert found.files[-1].real_path == "/usr/lib/x86_64-linux-gnu/libamdhip64.so.5.7.1"
    assert "the Python package vendor: one file" in found.looked
    assert not any(str(tmp_path) in each.path for each in found.files)


def test_empty_places_say_so() -> None:
    found = libraries.find(
        HERE,
        [
            *libraries.in_torch([]),
            *libraries.in_rocm([Installation("/gone", "ROCM_PATH (/gone)")], []),
            libraries.in_system({}, (), ()),
        ],
    )
    assert found == Libraries(
        (),
        ("torch (not installed): none", "/opt/rocm (absent): none", "ROCM_PATH (/gone): none",
         "the dynamic loader's directories: none"),
    )  # fmt: skip


def test_hostile_directories(hip: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    put(tmp_path / "file")
    large = copied(hip, tmp_path / "lib" / "libamdhip64.so.6")
    os.truncate(large, 4 << 30)
    same = copied(hip, tmp_path / "lib" / "libamdhip64.so.7")
    os.truncate(same, 4 << 30)
    folders = [tmp_path / each for each in ("loop", "file", "lib", "lib/libamdhip64.so.6")]
    bounded(lambda: _in(*folders, "/a\0b", os.fsdecode(b"/\xff"), "x" * 5000).looked)
    # Not compared to their end: too large, and told by their build id.
    told = bounded(lambda: [each.same for each in libraries.copies(_in(*folders).files, HERE)])
    assert told == "['build id']"
