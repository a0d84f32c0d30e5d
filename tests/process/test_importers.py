"""Who brought each copy: chains of DT_NEEDED up to the program, or an opener that may be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from runtimes.conftest import compile_library

from process.conftest import USES, Opener, compile_program
from xdiag.process.facts import Copy, ProcessFacts, Route
from xdiag.process.look import look

Start = Callable[..., Opener]
Runtime = Callable[[str], Path]


def _hip(facts: ProcessFacts) -> list[Copy]:
    return [copy for copy in facts.copies if copy.family == "libamdhip64"]


def _told(route: Route) -> tuple[str, list[str]]:
    return route.how, [os.path.basename(path) for path in route.chain]


def _needs(folder: Path, name: str, *needed: Path, rpath: str = "$ORIGIN") -> Path:
    source = USES % name.partition(".")[0].strip("_")
    return compile_library(
        folder / name, source, "-Wl,--no-as-needed", *map(str, needed), f"-Wl,-rpath,{rpath}"
    )


@pytest.fixture
def torch(tmp_path: Path, runtime: Runtime) -> Path:
    """A framework: an extension module that needs its way down to a runtime of its own."""
    lib = tmp_path / "torch" / "lib"
    below = _needs(lib, "libtorch_hip.so", runtime("torch/lib/libamdhip64.so.6"))
    above = _needs(lib, "libtorch_python.so", below)
    return _needs(tmp_path / "torch", "_C.so", above, rpath="$ORIGIN/lib")


def test_a_framework_and_a_library_that_opens_its_own(
    start: Start, runtime: Runtime, torch: Path, tmp_path: Path
) -> None:
    other = runtime("rocm/libamdhip64.so.6")
    opens = compile_library(
        tmp_path / "libplugin.so",
        f"#include <dlfcn.h>\n__attribute__((constructor)) static void f(void)"
        f'{{ dlopen("{other}", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND); }}',
    )
    first, second = _hip(look(start(f"open {torch}", f"open {opens}").pid))
    assert first.object.path.endswith("torch/lib/libamdhip64.so.6")
    chain = ["_C.so", "libtorch_python.so", "libtorch_hip.so"]
    # Linked with --no-as-needed, all of them; the shortest way up comes first.
    assert _told(first.routes[0]) == ("opened", ["_C.so", "libtorch_python.so", "libtorch_hip.so"])
    assert first.routes[0].certain and chain
    assert first.possible_openers == ()
    assert second.object.path == str(other)
    assert second.routes == (Route("opened"),)
    assert second.possible_openers == (f"{opens}: it contains the name libamdhip64",)


def test_a_program_that_needs_one_from_the_start(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    linked, opened = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    between = _needs(tmp_path / "a", "libbetween.so", linked)
    program = compile_program(
        tmp_path / "bin/program", "-Wl,--no-as-needed", str(between), f"-Wl,-rpath,{tmp_path}/a"
    )
    first, second = _hip(look(start(f"open {opened}", program=program).pid))
    assert first.routes == (Route("linked", (str(program), str(between))),)
    assert second.routes == (Route("opened"),)
    # Whoever opened it was there; the program itself does not contain the name.
    assert f"{program}" not in " ".join(second.possible_openers)


def test_one_needed_by_many_has_a_route_for_each(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    real = runtime("a/libamdhip64.so.6")
    users = [_needs(tmp_path / "a", f"libuser{place}.so", real) for place in range(3)]
    (copy,) = _hip(look(start(*(f"open {user}" for user in users)).pid))
    assert [route.chain for route in copy.routes] == [(str(user),) for user in users]
    assert {route.how for route in copy.routes} == {"opened"}


def test_the_same_soname_needed_twice_is_the_first_one_loaded(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    """The loader's rule: once a SONAME is there, no RPATH leads to another of it."""
    opened, beside = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    user = _needs(tmp_path / "b", "libuser.so", beside)
    facts = look(start(f"open {opened}", f"open {user}").pid)
    (copy,) = _hip(facts)
    assert copy.object.path == str(opened)
    assert copy.routes == (Route("opened", (str(user),)),)


def test_an_unversioned_name_leads_past_the_loaded_soname(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    """As torch's libraries that need libamdhip64.so beside a system's libamdhip64.so.6."""
    system, bundled = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so")
    without = compile_library(
        tmp_path / "link/libamdhip64.so", "int hipInit(unsigned f){return f;}"
    )
    user = _needs(tmp_path / "b", "libuser.so", without)
    facts = look(start(f"open {system}", f"open {user}").pid)
    first, second = _hip(facts)
    assert (first.object.path, second.object.path) == (str(system), str(bundled))
    assert first.routes == (Route("opened"),)
    assert second.routes == (Route("opened", (str(user),)),)


def test_preloading(start: Start, runtime: Runtime) -> None:
    real, other = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    environment = {**os.environ, "LD_PRELOAD": str(real)}
    facts = look(start(f"open {other}", env=environment).pid)
    first, second = _hip(facts)
    assert facts.environment["LD_PRELOAD"] == str(real)
    assert first.routes == (Route("preloaded"),) and first.object.path == str(real)
    assert second.routes == (Route("opened"),)


def test_the_library_path_of_the_process_is_known(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    real = runtime("a/libamdhip64.so.6")
    user = _needs(tmp_path / "b", "libuser.so", real, rpath="/nowhere")
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{tmp_path}/a", "PASSWORD": "secret"}
    facts = look(start(f"open {user}", env=environment).pid)
    assert _hip(facts)[0].routes == (Route("opened", (str(user),)),)
    assert facts.environment["LD_LIBRARY_PATH"] == f"{tmp_path}/a"
    assert "PASSWORD" not in facts.environment


def test_xsched_is_a_possible_opener_and_no_more(
    start: Start, runtime: Runtime, torch: Path, tmp_path: Path
) -> None:
    other = runtime("rocm/libamdhip64.so.6")
    source = (
        '#include <dlfcn.h>\n#include <stdlib.h>\nconst char *name = "libamdhip64.so";'
        "__attribute__((constructor)) static void f(void)"
        '{ dlopen(getenv("XSCHED_HIP_LIB"), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND); }'
    )
    hal = compile_library(tmp_path / "xsched" / "libhalhip.so", source)
    environment = {**os.environ, "XSCHED_HIP_LIB": str(other)}
    facts = look(start(f"open {torch}", f"open {hal}", env=environment).pid)
    _, second = _hip(facts)
    assert second.object.path == str(other)
    assert second.possible_openers == (
        f"{hal}: XSCHED_HIP_LIB names this file, and XSched opens what it names",
    )
    assert [each.path for each in facts.of_family("xsched")] == [str(hal)]


def test_an_opener_was_there_before(start: Start, runtime: Runtime, tmp_path: Path) -> None:
    real = runtime("a/libamdhip64.so.6")
    late = compile_library(tmp_path / "liblate.so", 'const char *name = "libamdhip64";')
    (copy,) = _hip(look(start(f"open {real}", f"open {late}").pid))
    assert copy.possible_openers == ()


def test_python_that_opens_two(runtime: Runtime) -> None:
    import subprocess
    import sys

    a, b = runtime("a/libamdhip64.so.6"), runtime("b/libamdhip64.so.6")
    script = f"import ctypes; ctypes.CDLL('{b}'); ctypes.CDLL('{a}'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        facts = look(process.pid)
        process.kill()
    assert [copy.object.path for copy in _hip(facts)] == [str(b), str(a)]
    for copy in _hip(facts):
        assert copy.routes == (Route("opened"),)
        assert "Python code (ctypes)" in copy.possible_openers[-1]


def test_libraries_that_need_each_other_in_a_circle(
    start: Start, runtime: Runtime, tmp_path: Path
) -> None:
    real = runtime("a/libamdhip64.so.6")
    _needs(tmp_path / "a", "libone.so", real)
    two = _needs(tmp_path / "a", "libtwo.so", real, tmp_path / "a/libone.so")
    one = _needs(tmp_path / "a", "libone.so", real, two)
    (copy,) = _hip(look(start(f"open {one}").pid))
    assert {_told(route)[1][-1] for route in copy.routes} == {"libone.so", "libtwo.so"}


def test_real_runtimes(real_target, real_paths) -> None:
    """AMD's own library twice in one process, as the patterns load it."""
    import subprocess
    import sys

    script = (
        f"import ctypes; ctypes.CDLL({real_paths.first!r}); ctypes.CDLL({real_paths.copy!r});"
        "print(flush=True); input()"
    )
    environment = {
        **os.environ,
        **real_target.environment,
        "LD_LIBRARY_PATH": ":".join(real_target.library_path),
    }
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        facts = look(process.pid)
        process.kill()
    paths = [os.path.realpath(each) for each in (real_paths.first, real_paths.copy)]
    assert [copy.object.path for copy in _hip(facts)] == paths
    assert {copy.object.soname for copy in _hip(facts)} == {real_target.soname}
    assert {copy.object.build_id for copy in _hip(facts)} == {real_target.build_id}
    assert facts.agent == real_target.agent
    (hsa,) = (copy for copy in facts.copies if copy.family == "libhsa-runtime64")
    assert hsa.ours == (real_target.agent == "software")
    # Both of them need it.
    assert sorted(route.chain[-1] for route in hsa.routes) == sorted(paths)
