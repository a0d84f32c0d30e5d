"""pytest with the plugin, in a process of its own, on tests that load libraries."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loaded.conftest import ROOT, environment

LOADER = """
import ctypes, sys
HERE = {folder!r}
def load(name):
    return ctypes.CDLL(HERE + "/" + name)
"""
#: The second test brings the second copy.
TESTS = """
from loader import load
def test_first(): load("one/libamdhip64.so.6")
def test_second(): load("two/libamdhip64.so.6")
def test_third(): pass
"""
SECTION = "more than one GPU runtime"


@pytest.fixture
def project(library: Path, tmp_path: Path) -> Path:
    """A folder with two copies of the library and a module that loads them."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(library, tmp_path / name / "libamdhip64.so.6")
        shutil.copy(library, tmp_path / name / "librccl.so.1")
    (tmp_path / "loader.py").write_text(LOADER.format(folder=str(tmp_path)))
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def run_pytest(
    project: Path,
    *options: str,
    named: bool = True,
    autoload: bool = False,
    wrapper: tuple[str, ...] = (),
) -> tuple[int, str]:
    """Exit status and output of pytest in the project, with the plugin named on its command."""
    paths = [str(ROOT), str(project), *filter(None, [os.environ.get("PYTHONPATH")])]
    changes = {"PYTHONPATH": ":".join(paths), "PYTEST_ADDOPTS": ""}
    if not autoload:
        changes["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    if named:
        command += ["-p", "xdiag.pytest_plugin"]
    done = subprocess.run(
        [*wrapper, *command, *options],
        cwd=project, env=environment(**changes), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_without_the_option_nothing_is_looked_at(project: Path) -> None:
    (project / "test_it.py").write_text(
        TESTS + "def test_unimported():\n    import sys; assert 'xdiag.loaded' not in sys.modules\n"
    )
    status, output = run_pytest(project)
    assert status == 0, output
    assert SECTION not in output and "single runtime" not in output


def test_the_test_that_brings_the_second_copy_is_named(project: Path) -> None:
    (project / "test_it.py").write_text(TESTS)
    status, output = run_pytest(project, "--single-runtime")
    assert status == 1
    assert "3 passed" in output
    assert "single runtime: libamdhip64\n" in output
    assert SECTION in output
    assert "The second copy came during test_it.py::test_second.\n" in output
    assert re.search(r"^2 copies of libamdhip64 are loaded in process \d+:$", output, re.MULTILINE)
    one, two = (f"  {project}/{name}/libamdhip64.so.6  device " for name in ("one", "two"))
    assert 0 < output.index(one) < output.index("loaded first") < output.index(two)
    assert "xdiag inspect with the process's id" in output


def test_the_configuration_turns_it_on_and_the_command_line_off(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\npythonpath = .\nsingle_runtime = true\n")
    (project / "test_it.py").write_text(TESTS)
    assert run_pytest(project)[0] == 1
    assert run_pytest(project, "-o", "single_runtime=false")[0] == 0


def test_one_copy_passes(project: Path) -> None:
    (project / "test_it.py").write_text(TESTS.replace("two/", "one/"))
    status, output = run_pytest(project, "--single-runtime")
    assert status == 0
    assert SECTION not in output


def test_a_module_that_brings_it_when_it_is_imported(project: Path) -> None:
    (project / "test_a.py").write_text("def test_it(): pass\n")
    (project / "test_b.py").write_text(
        "from loader import load\nload('one/libamdhip64.so.6'); load('two/libamdhip64.so.6')\n"
        "def test_it(): pass\n"
    )
    status, output = run_pytest(project, "--single-runtime")
    assert status == 1
    assert "The second copy came while test_b.py was collected.\n" in output


def test_a_conftest_that_brings_it(project: Path) -> None:
    (project / "conftest.py").write_text(
        "from loader import load\nload('one/libamdhip64.so.6'); load('two/libamdhip64.so.6')\n"
    )
    (project / "test_it.py").write_text("def test_it(): pass\n")
    status, output = run_pytest(project, "--single-runtime")
    assert status == 1
    assert "The second copy came before the tests were collected, by a plugin or a conft" in output


def test_the_teardown_of_the_last_test_is_looked_at(project: Path) -> None:
    (project / "test_it.py").write_text(
        "import pytest\nfrom loader import load\n"
        "@pytest.fixture(scope='session')\n"
        "def late():\n    yield\n    load('two/libamdhip64.so.6')\n"
        "def test_it(late): load('one/libamdhip64.so.6')\n"
    )
    status, output = run_pytest(project, "--single-runtime")
    assert status == 1
    assert "The second copy came during test_it.py::test_it.\n" in output


def test_a_copy_that_was_closed_again_counts(project: Path) -> None:
    (project / "test_it.py").write_text(
        "import _ctypes\nfrom loader import load\n"
        "def test_one():\n    global two\n"
        "    load('one/libamdhip64.so.6'); two = load('two/libamdhip64.so.6')\n"
        "def test_two(): _ctypes.dlclose(two._handle)\n"
    )
    status, output = run_pytest(project, "--single-runtime")
    assert status == 1
    assert "The second copy came during test_it.py::test_one.\n" in output


def test_other_families(project: Path) -> None:
    (project / "test_it.py").write_text(TESTS.replace("libamdhip64.so.6", "librccl.so.1"))
    assert run_pytest(project, "--single-runtime")[0] == 0
    status, output = run_pytest(project, "--single-runtime-of=libamdhip64,librccl")
    assert status == 1
    assert "single runtime: libamdhip64, librccl\n" in output
    assert "2 copies of librccl are loaded" in output


@pytest.mark.parametrize("family", ["libcudart", ""])
def test_what_is_no_family_is_a_usage_error(project: Path, family: str) -> None:
    (project / "test_it.py").write_text(TESTS)
    status, output = run_pytest(project, f"--single-runtime-of={family}")
    assert status == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: --single-runtime-of: no family {family!r}; known" in output
    assert "Traceback" not in output


def test_the_option_takes_no_test_for_its_value(project: Path) -> None:
    (project / "test_it.py").write_text(TESTS)
    assert run_pytest(project, "--single-runtime", "test_it.py")[0] == 1


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("def test_wrong(): assert False", pytest.ExitCode.TESTS_FAILED),
        ("def test_end(): raise KeyboardInterrupt", pytest.ExitCode.INTERRUPTED),
        ("import pytest\ndef test_exit(): pytest.exit('enough', returncode=7)", 7),
        ("syntax error", pytest.ExitCode.INTERRUPTED),
    ],
)
def test_another_failure_is_not_hidden(project: Path, extra: str, expected: int) -> None:
    (project / "conftest.py").write_text(
        "from loader import load\nload('one/libamdhip64.so.6'); load('two/libamdhip64.so.6')\n"
    )
    (project / "test_it.py").write_text(extra + "\n")
    status, output = run_pytest(project, "--single-runtime")
    assert status == expected
    # After an exit with a status of its own pytest shows no summary.
    assert (SECTION in output) == (expected in set(pytest.ExitCode))


def test_a_session_without_tests_stays_one(project: Path) -> None:
    (project / "conftest.py").write_text(
        "from loader import load\nload('one/libamdhip64.so.6'); load('two/libamdhip64.so.6')\n"
    )
    status, output = run_pytest(project, "--single-runtime")
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert SECTION in output


def test_without_a_terminal_the_status_tells(project: Path) -> None:
    (project / "test_it.py").write_text(TESTS)
    status, output = run_pytest(project, "--single-runtime", "-p", "no:terminal")
    assert (status, output) == (1, "")


def test_by_entry_point_and_by_name_it_is_registered_once(project: Path) -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    (entry,) = re.findall(
        r'^\[project\.entry-points\.pytest11\]\n"(.*)" = "(.*)"$', declared, re.MULTILINE
    )
    assert importlib.util.find_spec(entry[1])
    # What an installation would leave; where xdiag is installed there are two of it.
    information = project / "xdiag_plugin-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: xdiag-plugin\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[pytest11]\n{entry[0]} = {entry[1]}\n")
    (project / "test_it.py").write_text(TESTS)
    by_both = run_pytest(project, "--single-runtime", autoload=True)
    by_entry = run_pytest(project, "--single-runtime", named=False, autoload=True)
    for status, output in (by_both, by_entry):
        assert status == 1, output
        assert output.count(SECTION) == 1
    blocked = ("-p", f"no:{entry[0]}", "--single-runtime")
    status, output = run_pytest(project, *blocked, named=False, autoload=True)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --single-runtime" in output


def test_each_worker_of_xdist_is_watched(project: Path) -> None:
    if importlib.util.find_spec("xdist") is None:
        pytest.skip("no pytest-xdist here")
    (project / "test_a.py").write_text(TESTS)
    (project / "test_b.py").write_text("def test_it(): pass\n")
    options = ("-p", "xdist", "-p", "xdist.looponfail", "-n", "2", "--dist", "loadfile")
    status, output = run_pytest(project, *options, "--single-runtime")
    assert status == 1, output
    assert "4 passed" in output
    assert re.search(
        r"^The second copy came during test_a\.py::test_second \(worker gw[01]\)\.$", output,
        re.MULTILINE,
    )  # fmt: skip
    assert output.count("copies of libamdhip64 are loaded") == 1
    (project / "test_a.py").write_text(TESTS.replace("two/", "one/"))
    assert run_pytest(project, *options, "--single-runtime")[0] == 0


def test_where_it_cannot_look_it_says_so_at_once(
    project: Path, own_mounts: tuple[str, ...]
) -> None:
    (project / "test_it.py").write_text(TESTS)
    wrapper = (*own_mounts, "sh", "-c", 'umount --lazy /proc && exec "$@"', "sh")
    status, output = run_pytest(project, "--single-runtime", wrapper=wrapper)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --single-runtime: cannot tell which libraries are loaded" in output
    assert "Traceback" not in output


def test_where_it_can_look_no_more_it_does_not_pass(project: Path) -> None:
    (project / "test_it.py").write_text(
        "import resource\n"
        "def test_it(): pass\n"
        "def test_last(): resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
    )
    status, output = run_pytest(project, "--single-runtime", "--capture=no")
    assert status == 1, output
    assert "/proc/self/maps: Too many open files" in output
