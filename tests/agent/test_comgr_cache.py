"""The comgr cache in front of AMD's real libamd_comgr: same results, sooner.

Needs a HIP runtime whose directory also holds libamd_comgr.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "cffi_build" / "comgr_cache"
AGENT = HERE.parents[1] / "cffi_build" / "agent"
CC = shutil.which("cc") or shutil.which("gcc")

pytestmark = [
    pytest.mark.skipif(CC is None, reason="no C compiler"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the trampolines are for x86-64"),
]

FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
SHARED = ["-fPIC", "-shared", "-fvisibility=hidden"]

# The steps of comgr_chain.c that come out of the cache: compile, link, generate code, link.
STORED = 4


def compile_c(output, *arguments):
    done = subprocess.run(
        [CC, *FLAGS, *map(str, arguments), "-o", str(output), "-ldl"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return output


def environment(**extra):
    unwanted = ("XDIAG_", "LD_", "AMD_COMGR_")
    return {k: v for k, v in os.environ.items() if not k.startswith(unwanted)} | extra


@pytest.fixture(scope="session")
def real_comgr(runtime):
    found = sorted(runtime.parent.glob("libamd_comgr.so.[0-9]"))
    if not found:
        pytest.skip(f"no libamd_comgr beside {runtime}")
    return found[0]


@pytest.fixture(scope="session")
def shim(tmp_path_factory, real_comgr):
    return compile_c(
        tmp_path_factory.mktemp("shim") / real_comgr.name,
        *SHARED,
        f"-Wl,--version-script={CACHE / 'exports.map'}",
        *sorted(CACHE.glob("*.c")),
    )


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    return compile_c(tmp_path_factory.mktemp("chain") / "comgr_chain", HERE / "comgr_chain.c")


@pytest.fixture
def compile_program(chain, shim, real_comgr, tmp_path):
    """Runs the chain; returns what came out of it, as {file name: bytes}."""

    def run(name, library=None, **extra):
        output = tmp_path / name
        output.mkdir()
        done = subprocess.run(
            [chain, library or shim, output],
            capture_output=True,
            text=True,
            timeout=120,
            # What comgr needs, LLVM for one, lies beside it where xdiag has fetched it.
            env=environment(
                LD_LIBRARY_PATH=str(real_comgr.parent), XDIAG_COMGR_REAL=str(real_comgr), **extra
            ),
        )
        assert (done.returncode, done.stderr) == (0, "")
        return {path.name: path.read_bytes() for path in output.iterdir()}

    return run


def apart_from_bitcode(results):
    """The real comgr writes the name of a temporary directory into the bitcode it compiles."""
    return {name: content for name, content in results.items() if not name.endswith(".bc")}


def test_results_are_byte_identical(compile_program, real_comgr, tmp_path):
    cache = tmp_path / "cache"
    real = compile_program("real", library=real_comgr)
    miss = compile_program("miss", XDIAG_COMGR_CACHE=str(cache))
    stored = sorted(cache.iterdir())
    hit = compile_program("hit", XDIAG_COMGR_CACHE=str(cache))
    assert len(stored) == STORED
    assert sorted(cache.iterdir()) == stored
    assert hit == miss
    assert apart_from_bitcode(hit) == apart_from_bitcode(real)
    linked, code_object = "4-6-linked.bc", "9-8-a.so"
    assert hit[linked] == real[linked]
    assert hit[code_object] == real[code_object]


def test_without_a_cache_directory_nothing_is_kept(compile_program, tmp_path):
    assert "9-8-a.so" in compile_program("out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xa5"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["short", "empty", "changed", "a directory"],
)
def test_a_spoilt_file_is_passed_over(compile_program, tmp_path, spoil):
    cache = tmp_path / "cache"
    good = compile_program("good", XDIAG_COMGR_CACHE=str(cache))
    for path in cache.iterdir():
        spoil(path)
    again = compile_program("again", XDIAG_COMGR_CACHE=str(cache))
    assert again["9-8-a.so"] == good["9-8-a.so"]


def test_a_directory_others_may_write_is_not_used(compile_program, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    compile_program("out", XDIAG_COMGR_CACHE=str(cache))
    assert not list(cache.iterdir())


def test_comgrs_own_switches_go_to_the_real_library(compile_program, tmp_path):
    cache = tmp_path / "cache"
    compile_program("out", XDIAG_COMGR_CACHE=str(cache), AMD_COMGR_EMIT_VERBOSE_LOGS="1")
    assert not cache.exists() or not list(cache.iterdir())


def test_many_processes_at_once(compile_program, tmp_path):
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            pool.submit(compile_program, f"out{i}", XDIAG_COMGR_CACHE=str(cache)) for i in range(8)
        ]
        results = [job.result() for job in jobs]
    assert len({result["9-8-a.so"] for result in results}) == 1
    assert all(re.fullmatch("[0-9a-f]{64}", path.name) for path in cache.iterdir())


def test_a_missing_real_library_is_said_once(chain, shim, tmp_path):
    done = subprocess.run(
        [chain, shim, tmp_path],
        capture_output=True,
        text=True,
        env=environment(XDIAG_COMGR_REAL="/nonexistent/libamd_comgr.so.2"),
    )
    assert done.returncode == 1
    assert done.stderr.count("xdiag comgr cache:") == 1


def test_a_runtime_works_with_it(tmp_path, runtime, shim, real_comgr):
    agent = compile_c(
        tmp_path / "libhsa-runtime64.so.1",
        *SHARED,
        "-Wl,-soname,libhsa-runtime64.so.1",
        f"-Wl,--version-script={AGENT / 'exports.map'}",
        *sorted(AGENT.glob("*.c")),
    )
    smoke = compile_c(tmp_path / "hip_smoke", HERE / "hip_smoke.c")
    cache = tmp_path / "cache"
    for _ in range(2):  # first it fills, then it is used
        done = subprocess.run(
            [smoke, runtime],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment(
                LD_LIBRARY_PATH=f"{agent.parent}:{shim.parent}:{runtime.parent}",
                XDIAG_COMGR_REAL=str(real_comgr),
                XDIAG_COMGR_CACHE=str(cache),
            ),
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert list(cache.iterdir())


def test_clean_under_the_sanitizers(tmp_path, real_comgr):
    flags = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    shim = compile_c(tmp_path / real_comgr.name, *flags, *SHARED, *sorted(CACHE.glob("*.c")))
    chain = compile_c(tmp_path / "chain", *flags, HERE / "comgr_chain.c")
    # comgr 2.4 itself copies one byte too many of a name; LLVM's leaks are not ours either.
    suppressed = tmp_path / "suppressions"
    suppressed.write_text("interceptor_via_fun:amd_comgr_get_data_name\n")
    for name in ("stored", "restored"):  # a miss, then a hit
        output = tmp_path / name
        output.mkdir()
        done = subprocess.run(
            [chain, shim, output],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment(
                LD_LIBRARY_PATH=str(real_comgr.parent),
                XDIAG_COMGR_REAL=str(real_comgr),
                XDIAG_COMGR_CACHE=str(tmp_path / "cache"),
                ASAN_OPTIONS=f"detect_leaks=0:suppressions={suppressed}:print_suppressions=0",
                UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1",
            ),
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert len(list((tmp_path / "cache").iterdir())) == STORED
