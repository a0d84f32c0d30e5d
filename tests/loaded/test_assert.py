"""The check itself: what it raises, what it says, where it works."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loaded.conftest import ROOT, environment, in_child

import xdiag
from xdiag import loaded

CHECK = """
def check(*args, **kwargs):
    try:
        return loaded.assert_single_runtime(*args, **kwargs)
    except (RuntimeError, ValueError) as error:
        return error
"""


@pytest.fixture
def other(library: Path, tmp_path: Path) -> Path:
    """A second copy of the library."""
    return Path(shutil.copy(library, tmp_path / "libamdhip64.so"))


def test_two_copies_are_named_with_what_follows_and_what_to_do(library: Path, other: Path) -> None:
    code = CHECK + "load(paths[0]); load(paths[1]); answer((os.getpid(), check()))"
    pid, error = in_child(code, library, other)
    assert type(error) is loaded.TwoRuntimesError
    first, second = error.copies
    device = f"{os.major(first.device)}:{os.minor(first.device)}"
    assert str(error) == "\n".join(
        [
            f"2 copies of libamdhip64 are loaded in process {pid}:",
            f"  {library}  device {device} inode {library.stat().st_ino}"
            f" at {first.address:#x}, loaded first",
            f"  {other}  device {device} inode {other.stat().st_ino} at {second.address:#x}",
            loaded.FAMILIES["libamdhip64"],
            f"Who brought in each of them: xdiag inspect {pid}",
        ]
    )
    assert "709" in loaded.FAMILIES["libamdhip64"]


def test_it_is_caught_as_a_runtime_error_and_not_as_a_failed_assertion() -> None:
    assert issubclass(loaded.TwoRuntimesError, RuntimeError)
    assert not issubclass(loaded.TwoRuntimesError, AssertionError)


def test_one_copy_or_none_passes(library: Path) -> None:
    code = CHECK + "answer((check(), load(paths[0]) and check(), check(allow_none=False)))"
    none, one, again = in_child(code, library)
    assert none == ()
    assert [copy.path for copy in one] == [str(library)]
    assert again == one


def test_none_where_one_was_asked_for(library: Path) -> None:
    code = (
        CHECK
        + """
answer([check(allow_none=False), load(paths[0]) and
        check(("libamdhip64", "librccl"), allow_none=False)])
"""
    )
    for error, family in zip(in_child(code, library), ("libamdhip64", "librccl"), strict=True):
        assert type(error) is loaded.NoRuntimeError
        assert f"no copy of {family} is loaded in process" in str(error)


def test_two_copies_come_before_one_that_is_missing(library: Path, other: Path) -> None:
    code = (
        CHECK
        + """
load(paths[0]); load(paths[1])
answer(check(("librccl", "libamdhip64"), allow_none=False))
"""
    )
    assert type(in_child(code, library, other)) is loaded.TwoRuntimesError


def test_other_families_are_judged_if_asked_for(library: Path, tmp_path: Path) -> None:
    two = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        two.append(shutil.copy(library, tmp_path / name / "libamd_comgr.so.2"))
    code = (
        CHECK
        + """
for path in paths: load(path)
answer((check(), check("libamd_comgr"), check(loaded.FAMILIES), check(["libamdhip64", "librccl"])))
"""
    )
    hip, comgr, every, others = in_child(code, library, *two)
    assert [copy.family for copy in hip] == ["libamdhip64"]
    for error in (comgr, every):
        assert "2 copies of libamd_comgr are loaded" in str(error)
        assert "of libamdhip64 are" not in str(error)
    assert [copy.family for copy in comgr.copies] == ["libamd_comgr"] * 2
    assert [copy.family for copy in others] == ["libamdhip64"]


@pytest.mark.parametrize(
    ("families", "says"),
    [
        (("libamdhip",), "no family 'libamdhip'; known are libamdhip64, "),
        ("libcudart", "no family 'libcudart'"),
        ((), "no family to judge"),
        ("", "no family ''"),
    ],
)
def test_a_check_that_would_always_pass_is_refused(families: tuple[str, ...], says: str) -> None:
    for call in (loaded.assert_single_runtime, loaded.loaded_runtimes):
        with pytest.raises(ValueError, match=says):
            call(families)


def test_in_a_forked_child(library: Path, other: Path) -> None:
    code = (
        CHECK
        + """
load(paths[0])
pid = os.fork()
if pid == 0:
    load(paths[1])
    answer((os.getpid(), check()))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert len(check()) == 1
"""
    )
    pid, error = in_child(code, library, other)
    assert f"in process {pid}:" in str(error)
    assert len(error.copies) == 2


def test_while_other_threads_open_and_close_libraries(library: Path, other: Path) -> None:
    code = (
        CHECK
        + """
import threading, time, _ctypes
load(paths[0])
end = time.monotonic() + 1
def open_and_close():
    while time.monotonic() < end:
        _ctypes.dlclose(load(paths[1])._handle)
threads = [threading.Thread(target=open_and_close) for _ in range(2)]
for thread in threads: thread.start()
seen = set()
sys.setswitchinterval(1e-5)
while any(thread.is_alive() for thread in threads):
    seen.add(tuple(copy.path for copy in loaded.loaded_runtimes()))
answer(seen)
"""
    )
    seen = in_child(code, library, other)
    assert (str(library), str(other)) in seen
    assert all(str(library) in paths and len(paths) <= 2 for paths in seen)


def test_in_a_thread_that_outlives_the_main_thread(library: Path, other: Path) -> None:
    code = (
        CHECK
        + """
import threading, time
load(paths[0]); load(paths[1])
def late():
    while open("/proc/self/maps").read(): time.sleep(0.01)  # empty once the main thread is gone
    answer(check())
    os._exit(0)
threading.Thread(target=late).start()
libc.pthread_exit(None)
"""
    )
    error = in_child(code, library, other)
    assert [copy.order for copy in error.copies] == [0, 1]


def test_a_process_that_may_not_be_looked_into(library: Path, other: Path) -> None:
    # As after a change of user: what is left of /proc/self to read is the map.
    code = (
        CHECK
        + """
load(paths[0]); load(paths[1])
if os.getuid() == 0: os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
answer((os.access("/proc/self/auxv", os.R_OK), check()))
"""
    )
    readable, error = in_child(code, library, other)
    assert not readable, "the case is not the case"
    assert {copy.path for copy in error.copies} == {str(library), str(other)}
    assert [copy.order for copy in error.copies] == [None, None]
    assert "loaded first" not in str(error)


def test_ten_thousand_mappings(library: Path, other: Path) -> None:
    code = (
        CHECK
        + """
import mmap
load(paths[0])
file = open(paths[0], "rb")
libc.mmap.restype = ctypes.c_size_t
libc.mmap.argtypes = (ctypes.c_size_t,) * 2 + (ctypes.c_int,) * 3 + (ctypes.c_size_t,)
space = libc.mmap(0, 4096 * 20_000, 0, 0x22, -1, 0)
for page in range(0, 20_000, 2):
    assert libc.mmap(space + 4096 * page, 4096, 1, 0x12, file.fileno(), 0) != -1  # MAP_FIXED
load(paths[1])
answer((len(open("/proc/self/maps").readlines()), check()))
"""
    )
    lines, error = in_child(code, library, other)
    assert lines > 10_000
    assert [copy.path for copy in error.copies] == [str(library), str(other)]


# ---- where there is no /proc -----------------------------------------------------------------


def test_in_a_root_without_proc(library: Path, other: Path, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("chroot(2) needs root")
    empty = tmp_path / "empty"
    empty.mkdir()
    code = CHECK + "load(paths[0]); load(paths[1]); os.chroot(paths[2]); answer(check())"
    error = in_child(code, library, other, empty)
    assert type(error) is loaded.CannotTell
    assert str(error) == (
        "cannot tell which libraries are loaded: /proc/self/maps: No such file or directory;"
        " is /proc mounted?"
    )


def test_with_proc_unmounted(library: Path, own_mounts: tuple[str, ...]) -> None:
    code = (
        CHECK
        + """
load(paths[0])
import subprocess
subprocess.run(["umount", "--lazy", "/proc"], check=True)
answer((check(), check("librccl")))
"""
    )
    for error in in_child(code, library, wrapper=own_mounts):
        assert type(error) is loaded.CannotTell
        assert "is /proc mounted?" in str(error)


def test_without_a_free_descriptor(library: Path) -> None:
    code = (
        CHECK
        + """
import resource
load(paths[0])
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
answer(check())
"""
    )
    error = in_child(code, library)
    assert type(error) is loaded.CannotTell
    assert str(error).endswith("/proc/self/maps: Too many open files")


# ---- records ---------------------------------------------------------------------------------


def test_the_record_is_frozen_and_compares_by_value() -> None:
    def made(order: int | None = None) -> loaded.LoadedRuntime:
        return loaded.LoadedRuntime("librccl", "/a/librccl.so.1", 2049, 7, 4096, order=order)

    one = made()
    assert one == made() and hash(one) == hash(made())
    assert one != made(order=0)
    assert one != ("librccl",)
    assert eval(repr(one), {"LoadedRuntime": loaded.LoadedRuntime}) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert str(one) == "/a/librccl.so.1  device 8:1 inode 7 at 0x1000"
    with pytest.raises(AttributeError, match="cannot assign to field 'path'"):
        one.path = "/b"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot delete field 'path'"):
        del one.path
    with pytest.raises(AttributeError):
        one.other = 1  # type: ignore[attr-defined]


# ---- imports ---------------------------------------------------------------------------------

IMPORTED = """
import os, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import {module} as module
{use}
print(*sorted(set(sys.modules) - before))
"""


def _imported(module: str, use: str, folder: Path) -> set[str]:
    """What a bare interpreter imports besides os for a module and its use; without site."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORTED.format(module=module, use=use), folder],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_nothing_is_imported_but_os_and_sys() -> None:
    used = _imported("xdiag.loaded", "module.assert_single_runtime()", ROOT)
    assert used == {"__future__", "xdiag", "xdiag.loaded"}
    used = _imported("xdiag", "module.assert_single_runtime()", ROOT)
    assert used == {"__future__", "xdiag", "xdiag.loaded"}


def test_import_xdiag_imports_it_only_when_asked() -> None:
    use = "dir(module); module.__version__; assert not hasattr(module, 'nonsense')"
    assert _imported("xdiag", use, ROOT) == {"__future__", "xdiag"}


def test_the_file_alone_works_elsewhere(library: Path, other: Path, tmp_path: Path) -> None:
    shutil.copy(loaded.__file__, tmp_path / "single_runtime.py")
    used = _imported("single_runtime", "module.assert_single_runtime()", tmp_path)
    assert used == {"__future__", "single_runtime"}
    done = subprocess.run(
        [sys.executable, "-I", "-c",
         "import sys; sys.path.insert(0, sys.argv[1]); import single_runtime, ctypes\n"
         "keep = [ctypes.CDLL(path) for path in sys.argv[2:]]\n"
         "single_runtime.assert_single_runtime()", tmp_path, library, other],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "single_runtime.TwoRuntimesError: 2 copies of libamdhip64 are loaded" in done.stderr


def test_what_xdiag_exports() -> None:
    assert xdiag.assert_single_runtime is loaded.assert_single_runtime
    assert set(xdiag.__all__) <= set(dir(xdiag))
    names: dict[str, object] = {}
    exec("from xdiag import *", names)
    assert names["TwoRuntimesError"] is loaded.TwoRuntimesError
    with pytest.raises(AttributeError, match="module 'xdiag' has no attribute 'nonsense'"):
        _ = xdiag.nonsense  # type: ignore[attr-defined]


def test_type_checkers_see_the_names(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import xdiag\n"
        "reveal_type(xdiag.assert_single_runtime())\n"
        "reveal_type(xdiag.loaded_runtimes()[0].inode)\n"
        "xdiag.loaded_runtimes()[0].path = 1\n"
        "error = xdiag.TwoRuntimesError('')\n"
        "xdiag.nonsense\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", script],
        env=environment(MYPYPATH=str(ROOT)), cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    *notes, last = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert notes[:2] == [
        'note: Revealed type is "tuple[xdiag.loaded.LoadedRuntime, ...]"',
        'note: Revealed type is "int"',
    ]
    assert notes[2].startswith("error: Incompatible types in assignment")
    assert notes[3].startswith('error: Module has no attribute "nonsense"')
    assert len(notes) == 4
    assert last == ""
