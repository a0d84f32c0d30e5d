"""What counts as a copy: real files, loaded by the real loader in a process of their own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from loaded.conftest import SOURCE, in_child, loaded_in_child
from runtimes.conftest import compile_library

LOAD = "for path in paths: load(path)"


def _copy(library: Path, folder: Path, name: str = "libamdhip64.so.6") -> Path:
    folder.mkdir(parents=True)
    return Path(shutil.copy(library, folder / name))


def test_nothing_is_loaded() -> None:
    assert loaded_in_child("") == ()


def test_one_file_under_four_names_is_one_copy(library: Path, tmp_path: Path) -> None:
    hardlink, symlink = tmp_path / "libamdhip64.so.6", tmp_path / "libamdhip64.so"
    os.link(library, hardlink)
    symlink.symlink_to(library)
    below = tmp_path / "below"
    below.symlink_to(library.parent)
    code = """
first = load(paths[0])
for path in paths[1:]: load(path)
base = ctypes.cast(first._handle, ctypes.POINTER(ctypes.c_size_t))[0]
answer((base, loaded.loaded_runtimes()))
"""
    base, (copy,) = in_child(code, library, hardlink, symlink, below / library.name)
    status = library.stat()
    assert copy.family == "libamdhip64"
    assert copy.path == str(library)
    assert (copy.device, copy.inode) == (status.st_dev, status.st_ino)
    assert copy.address == base
    assert (copy.deleted, copy.order) == (False, 0)


@pytest.mark.parametrize("turned", [False, True])
def test_equal_files_are_two_copies_in_the_order_of_loading(
    library: Path, tmp_path: Path, turned: bool
) -> None:
    paths = [library, _copy(library, tmp_path / "b")]
    if turned:
        paths.reverse()
    copies = loaded_in_child(LOAD, *paths)
    assert [copy.path for copy in copies] == [str(path) for path in paths]
    assert [copy.order for copy in copies] == [0, 1]


def test_the_order_is_the_loaders_and_not_that_of_addresses(library: Path, tmp_path: Path) -> None:
    large = compile_library(tmp_path / "a/libamdhip64.so", SOURCE + "char space[64 << 20];")
    files = [large, _copy(large, tmp_path / "b"), _copy(large, tmp_path / "c")]
    hole = compile_library(tmp_path / "libhole.so", "char space[96 << 20];")
    # Later libraries go to lower addresses, except into the hole that a closed one leaves.
    code = """
import _ctypes
hole = load(paths[0]); load(paths[1])
_ctypes.dlclose(hole._handle)
load(paths[2]); load(paths[3])
"""
    copies = loaded_in_child(code, hole, *files)
    addresses = [copy.address for copy in copies]
    assert sorted(addresses) not in (addresses, addresses[::-1]), "the case is not the case"
    assert [copy.path for copy in copies] == [str(file) for file in files]


def test_a_file_replaced_on_disk_and_loaded_again(library: Path, tmp_path: Path) -> None:
    path = _copy(library, tmp_path / "lib")
    status = path.stat()
    # The loader knows a path that it has opened; spelled differently, it looks at the file.
    code = """
load(paths[0])
os.rename(paths[1], paths[0])
load(os.path.dirname(paths[0]) + b"/./libamdhip64.so.6")
"""
    old, new = loaded_in_child(code, path, _copy(library, tmp_path / "new"))
    assert (old.path, old.deleted, old.order) == (str(path), True, 0)
    assert (old.device, old.inode) == (status.st_dev, status.st_ino)
    assert (new.path, new.deleted, new.order) == (str(path), False, 1)
    assert new.inode == path.stat().st_ino
    assert " (deleted)" in str(old) and " (deleted)" not in str(new)


def test_a_removed_file_is_still_loaded(library: Path, tmp_path: Path) -> None:
    path = _copy(library, tmp_path / "lib")
    (copy,) = loaded_in_child("load(paths[0]); os.unlink(paths[0])", path)
    assert (copy.path, copy.deleted) == (str(path), True)


def test_a_copy_in_another_namespace(library: Path, tmp_path: Path) -> None:
    other = _copy(library, tmp_path / "b")
    copies = loaded_in_child("load(paths[0]); in_namespace(paths[1])", library, other)
    assert {copy.path for copy in copies} == {str(library), str(other)}
    # The loader keeps a list for each namespace: between two there is no order.
    assert [copy.order for copy in copies] == [None, None]
    assert [copy.address for copy in copies] == sorted(copy.address for copy in copies)


def test_one_file_in_two_namespaces_is_two_copies(library: Path) -> None:
    code = """
first = load(paths[0]); in_namespace(paths[0])
try:
    loaded.assert_single_runtime()
except loaded.TwoRuntimesError as error:
    answer((error.copies, str(error)))
"""
    copies, told = in_child(code, library)
    assert [copy.path for copy in copies] == [str(library)] * 2
    assert copies[0].inode == copies[1].inode
    assert copies[0].address != copies[1].address
    assert "loaded twice, in two namespaces" in told


def test_a_file_that_is_only_read_is_not_loaded(library: Path) -> None:
    code = """
import mmap
file = open(paths[0], "rb")
def mapped():
    return [mmap.mmap(file.fileno(), 0, access=way) for way in (mmap.ACCESS_READ, mmap.ACCESS_COPY)]
before = mapped(), mapped(), loaded.loaded_runtimes()
load(paths[0])
answer((before[2], mapped() and loaded.loaded_runtimes()))
"""
    before, after = in_child(code, library)
    assert before == ()
    assert [copy.path for copy in after] == [str(library)]


def test_a_shim_by_the_name_of_a_link_is_no_copy(library: Path, tmp_path: Path) -> None:
    shim = compile_library(tmp_path / "libshimhip.so", SOURCE)
    link = tmp_path / "libamdhip64.so"
    link.symlink_to(shim)
    (copy,) = loaded_in_child(LOAD, link, library)
    assert copy.path == str(library)


NAMES = {
    "libamdhip64.so": True,
    "libamdhip64.so.6": True,
    "libamdhip64.so.6.4.60403": True,
    "libamdhip64.so.4.4.21432-f9dccde4": True,
    "libamdhip64.so.5.0.13601-": True,
    "libamdhip64-1a2b3c4d.so.6.4.60403": True,
    "libamdhip64-1a2b3c4d.so": True,
    "libamdhip64_stub.so": False,
    "libhip_stub.so": False,
    "libamdhip64.so.6.debug": False,
    "libamdhip64.so.debug": False,
    "libamdhip64.so.": False,
    "libamdhip64.so.6.": False,
    "libamdhip64.so-": False,
    "libamdhip64.so.6-a.b": False,
    "libamdhip64-stub.so": False,
    "libamdhip64-1a2.so": False,
    "libamdhip64-.so": False,
    "libamdhip64.sox": False,
    "libamdhip64": False,
    "libamdhip645.so": False,
    "xlibamdhip64.so": False,
    "libamdhip64.so.6 (deleted)x": False,
    "libhiprtc.so.6": True,
    "libhiprtc-builtins.so.6": False,
    "libamd_comgr.so.2.6.0": True,
    "libamd_comgr_stub.so": False,
    "libhsa-runtime64.so.1": True,
    "libhsa-runtime64-0123abcd.so.1.14.0": True,
    "librccl.so.1": True,
    "librccl-net.so": False,
    "libcuda.so": True,
    "libcuda.so.1": True,
    "libcuda.so.580.159.04": True,
    "libcudart.so.12": False,
    "libcudadebugger.so.1": False,
    "libcudart-1a2b3c4d.so.12": False,
}


def test_names_of_runtimes(library: Path, tmp_path: Path) -> None:
    files = [_copy(library, tmp_path / str(n), name) for n, name in enumerate(NAMES)]
    copies = loaded_in_child(LOAD, *files)
    assert {Path(copy.path).name for copy in copies} == {
        name for name, counts in NAMES.items() if counts
    }
    assert all(Path(copy.path).name.startswith(copy.family) for copy in copies)
    from xdiag.loaded import FAMILIES

    assert list(dict.fromkeys(copy.family for copy in copies)) == list(FAMILIES)


def test_a_directory_by_the_name_of_a_runtime(library: Path, tmp_path: Path) -> None:
    other = _copy(library, tmp_path / "libamdhip64.so.6", "libother.so")
    assert loaded_in_child(LOAD, other) == ()


@pytest.mark.parametrize(
    "folder",
    [
        b"with a space",
        b" first and last ",
        b"two\nlines",
        b"\n",
        b"latin-\xe9",
        b"tab\tand\rreturn",
        b"backslash\\012",
        b"backslash\\",
        b"7f00-7f01 r-xp 0000 00:00 0",
        b"old (deleted)",
        "\u202eright-to-left".encode(),
    ],
)
def test_odd_paths(library: Path, tmp_path: Path, folder: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + folder + b"/libamdhip64.so.6"
    os.mkdir(os.path.dirname(path))
    shutil.copy(library, path)
    copies = loaded_in_child(LOAD, library, path)
    assert [os.fsencode(copy.path) for copy in copies] == [os.fsencode(library), path]
    assert str(copies[1]).isprintable()


@pytest.mark.parametrize(
    "options",
    [
        ("-Wl,-z,noseparate-code",),
        ("-Wl,-z,separate-code",),
        ("-Wl,-z,max-page-size=0x200000",),
        ("-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=0x200000", "-Wl,-z,norelro"),
        ("-nostdlib", "-Wl,-z,noseparate-code"),
    ],
)
def test_a_load_is_counted_once_however_it_is_laid_out(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    path = compile_library(tmp_path / "libamdhip64.so.6", SOURCE, *options)
    code = """
lib = load(paths[0])
base = ctypes.cast(lib._handle, ctypes.POINTER(ctypes.c_size_t))[0]
once = loaded.loaded_runtimes()
in_namespace(paths[0])
answer((base, once, loaded.loaded_runtimes()))
"""
    base, once, twice = in_child(code, path)
    assert [copy.address for copy in once] == [base]
    assert len(twice) == 2
    assert base in {copy.address for copy in twice}


def test_code_that_was_patched_is_still_one_copy(tmp_path: Path) -> None:
    source = 'int hipInit(unsigned flags) { return (int)flags; } __asm__(".text\\n.skip 65536");'
    path = compile_library(tmp_path / "libamdhip64.so.6", source)
    # As tools do that put jumps into functions: pages of the text get rights of their own.
    code = """
lib = load(paths[0])
page = (ctypes.cast(lib.hipInit, ctypes.c_void_p).value & -4096) + 3 * 4096
libc.mprotect.argtypes = ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int
assert libc.mprotect(page, 4096, 7) == 0
assert libc.mprotect(page + 8 * 4096, 4096, 1) == 0
pieces = [line for line in open("/proc/self/maps") if "amdhip64" in line and " r-x" in line]
once = loaded.loaded_runtimes()
in_namespace(paths[0])
answer((pieces, once, loaded.loaded_runtimes()))
"""
    pieces, once, twice = in_child(code, path)
    assert len(pieces) == 3, "the case is not the case"
    assert (len(once), len(twice)) == (1, 2)


def test_a_second_cuda_driver_comes_by_a_path_or_by_the_unversioned_name(
    tmp_path: Path,
) -> None:
    """As the comment in FAMILIES says; the loader that decides is the real one."""
    driver, stub = (
        compile_library(tmp_path / folder / "libcuda.so.1", SOURCE, "-Wl,-soname,libcuda.so.1")
        for folder in ("driver", "stubs")
    )
    (stub.parent / "libcuda.so").symlink_to(stub.name)
    search = {"LD_LIBRARY_PATH": str(stub.parent)}
    by_soname = 'load(paths[0]); load(b"libcuda.so.1")'
    (copy,) = loaded_in_child(by_soname, driver, **search)
    assert (copy.family, copy.path) == ("libcuda", str(driver))
    for second in ('b"libcuda.so"', 'os.path.join(os.path.dirname(paths[1]), b"libcuda.so.1")'):
        copies = loaded_in_child(f"load(paths[0]); load({second})", driver, stub, **search)
        assert [(each.path, each.order) for each in copies] == [(str(driver), 0), (str(stub), 1)]
    told = in_child(
        """
for path in paths: load(path)
try:
    loaded.assert_single_runtime("libcuda")
except loaded.TwoRuntimesError as error:
    answer(str(error))
""",
        driver, stub,
    )  # fmt: skip
    assert told.startswith("2 copies of libcuda are loaded") and "cuInit" in told
