"""The repair of the old binding: real interpreters, a real library that prints what it is given."""

from __future__ import annotations

import ast
import builtins
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runtimes.conftest import compile_library

from xdiag.discover.root import Root
from xdiag.discover.xsched import read_binding
from xdiag.doctor.admission import admit
from xdiag.doctor.command_line import understood
from xdiag.errors import CannotRun
from xdiag.repair import full_width_handle
from xdiag.repair.full_width_handle import (
    LOG,
    argtypes_diff,
    diff_folder,
    environment,
    hook_folder,
    obstacles,
)

HANDLE = 0x7F1287650010
CUT, WHOLE = "0xffffffff87650010", "0x7f1287650010"
HOOK = Path(hook_folder()) / "sitecustomize.py"

SHIM = r"""
#include <stdio.h>
int HipQueueCreate(void **queue, void *stream)
{
    printf("%#lx\n", (unsigned long)stream);
    fflush(stdout);
    *queue = stream;
    return 0;
}
"""
#: As the binding called its library before June 2026.
OLD = """
import ctypes
from enum import IntEnum
from helpers import *

class XSchedHIP():
    try:
        __library = ctypes.cdll.LoadLibrary(PATH)
    except Exception as error:
        print(error)
        exit(1)

    @staticmethod
    def HIPQueueCreate(stream: ctypes.c_void_p):
        queue = ctypes.c_uint64()
        result = XSchedHIP.__library.HipQueueCreate(ctypes.byref(queue), stream)
        return Result(result), queue
"""
HELPERS = """
import os
PATH = os.environ["SHIM"]

def Result(value):
    return value

class Lazy:
    def __getattr__(self, name):
        raise SystemExit("an object that is not the binding's was touched: " + name)

lazy = Lazy()
"""
CALL = f"import xsched_hip; xsched_hip.XSchedHIP.HIPQueueCreate({HANDLE:#x})"


def _interpreters() -> list[str]:
    """This Python, and every other version that is installed here."""
    names = [f"python3.{minor}" for minor in range(6, 15)]
    folders = Path.home().glob(".pyenv/versions/*/bin")
    found = {os.path.realpath(sys.executable): sys.executable}
    for folder in [*os.environ["PATH"].split(":"), *map(str, folders)]:
        for name in names:
            path = os.path.join(folder, name)
            # Not pyenv's shims, which are scripts, and name versions that are not installed.
            if os.access(path, os.X_OK) and Path(path).read_bytes()[:4] == b"\x7fELF":
                found.setdefault(os.path.realpath(path), path)
    return list(found.values())


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("shim") / "libshimhip.so", SHIM)


class Place:
    """A directory with a binding, and Pythons started in it."""

    def __init__(self, folder: Path, shim: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch(mode=0o600)
        self.environ = {"PATH": os.environ["PATH"], "SHIM": str(shim), LOG: str(self.log),
                        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}  # fmt: skip
        self.write("helpers.py", HELPERS)
        self.write("xsched_hip.py", OLD)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(
        self, *arguments: str, hook: bool = True, python: str = sys.executable, **more: str
    ) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, "PYTHONPATH": str(self.folder), **more}
        environ = environment(environ) if hook else environ
        return subprocess.run([python, *arguments], env=environ, cwd=self.folder, text=True,
                              capture_output=True, check=False, timeout=60)  # fmt: skip

    def told(self) -> str:
        return self.log.read_text()


@pytest.fixture
def place(tmp_path: Path, shim: Path) -> Place:
    folder = tmp_path / "place"
    folder.mkdir()
    return Place(folder, shim)


# ---- the hook --------------------------------------------------------------------------------


@pytest.mark.parametrize("python", _interpreters())
def test_a_handle_is_cut_without_the_hook_and_whole_with_it(place: Place, python: str) -> None:
    without = place.run("-c", CALL, hook=False, python=python)
    assert (without.stdout, without.stderr) == (f"{CUT}\n", "")
    with_it = place.run("-c", CALL, python=python)
    assert (with_it.stdout, with_it.stderr, with_it.returncode) == (f"{WHOLE}\n", "", 0)
    assert place.told() == "argument types set for xsched_hip: HipQueueCreate\n"


FORMS = {
    "ctypes.c_void_p(HANDLE)": WHOLE,
    "ctypes.c_uint64(HANDLE)": WHOLE,
    "ctypes.c_longlong(HANDLE)": WHOLE,
    "2": "0x2",
    "-1": "0xffffffffffffffff",
    "True": "0x1",
    "0xffffffff87650010": CUT,
    "None": "0",
    "type('S', (), {'_as_parameter_': HANDLE})()": WHOLE,
    "type('S', (), {'_as_parameter_': ctypes.c_void_p(HANDLE)})()": WHOLE,
}


def test_every_form_that_worked_without_the_hook_works_the_same_with_it(place: Place) -> None:
    for form, expected in FORMS.items():
        call = CALL.replace(f"({HANDLE:#x})", f"({form})").replace("HANDLE", hex(HANDLE))
        with_it = place.run("-c", f"import ctypes; {call}")
        assert with_it.stdout == f"{expected}\n", (form, with_it.stderr)
        # Cut, or the program's own business, is what came in without it.
        without = place.run("-c", f"import ctypes; {call}", hook=False)
        assert without.stdout in (f"{expected}\n", f"{CUT}\n"), form


@pytest.mark.parametrize("value", ["'text', 1", "1 << 70", "object()"])
def test_what_failed_without_the_hook_fails_the_same_with_it(place: Place, value: str) -> None:
    code = (
        "import xsched_hip\n"
        f"try: xsched_hip.XSchedHIP.HIPQueueCreate({value})\n"
        "except BaseException as error: print(type(error).__name__, error)\n"
    )
    with_it, without = place.run("-c", code), place.run("-c", code, hook=False)
    assert with_it.stdout and with_it.stdout == without.stdout


@pytest.mark.parametrize(
    ("replaced", "by"),
    [
        ("__library = ctypes.cdll.LoadLibrary(PATH)", "__library = ctypes.CDLL(PATH, mode=2)"),
        ("__library = ctypes.cdll.LoadLibrary(PATH)", "__library = ctypes.PyDLL(PATH)"),
        ("XSchedHIP.__library.HipQueueCreate(",
         "getattr(XSchedHIP._XSchedHIP__library, 'Hip' + 'QueueCreate')("),
        ("class XSchedHIP():", "class Deep:\n  class Deeper:\n    kept = [ctypes.CDLL(PATH)]\n"
         "class XSchedHIP():"),
    ],
)  # fmt: skip
def test_the_library_may_be_called_and_kept_in_many_ways(
    place: Place, replaced: str, by: str
) -> None:
    place.write("xsched_hip.py", OLD.replace(replaced, by))
    done = place.run("-c", CALL)
    assert (done.stdout, done.stderr) == (f"{WHOLE}\n", "")


KEPT = {
    "a global": "library = ctypes.CDLL(PATH)\ndef create(s):\n"
    "    return library.HipQueueCreate(ctypes.byref(ctypes.c_uint64()), s)\n",
    "a function": 'queue = ctypes.CDLL(PATH)["HipQueueCreate"]\ndef create(s):\n'
    "    return queue(ctypes.byref(ctypes.c_uint64()), s)\n",
    "an instance": "class Api:\n    def __init__(self):\n        self.dll = ctypes.CDLL(PATH)\n"
    "    def __call__(self, s):\n"
    "        return self.dll.HipQueueCreate(ctypes.byref(ctypes.c_uint64()), s)\n"
    "create = Api()\n",
    "a dictionary": 'libraries = {"hip": ctypes.CDLL(PATH)}\ndef create(s):\n'
    '    return libraries["hip"].HipQueueCreate(ctypes.byref(ctypes.c_uint64()), s)\n',
}


@pytest.mark.parametrize("kept", KEPT)
def test_the_library_may_be_kept_anywhere_in_the_module(place: Place, kept: str) -> None:
    place.write("xsched_hip.py", f"import ctypes\nfrom helpers import PATH, lazy\n{KEPT[kept]}")
    call = f"import xsched_hip; xsched_hip.create({HANDLE:#x})"
    assert place.run("-c", call, hook=False).stdout == f"{CUT}\n"
    done = place.run("-c", call)
    assert (done.stdout, done.stderr) == (f"{WHOLE}\n", "")


@pytest.mark.parametrize("python", _interpreters())
def test_a_function_fetched_anew_for_each_call_is_reached(place: Place, python: str) -> None:
    by_index = OLD.replace("__library.HipQueueCreate(", '__library["HipQueueCreate"](')
    place.write("xsched_hip.py", by_index)
    assert place.run("-c", CALL, hook=False, python=python).stdout == f"{CUT}\n"
    done = place.run("-c", CALL, python=python)
    assert (done.stdout, done.stderr) == (f"{WHOLE}\n", "")


def test_a_library_that_is_opened_later_is_not_reached_and_that_is_said(place: Place) -> None:
    text = "import ctypes\nfrom helpers import PATH\ndef create(s):\n"
    text += "    return ctypes.CDLL(PATH).HipQueueCreate(ctypes.byref(ctypes.c_uint64()), s)\n"
    place.write("xsched_hip.py", text)
    assert place.run("-c", f"import xsched_hip; xsched_hip.create({HANDLE})").stdout == f"{CUT}\n"
    assert place.told() == ("no argument types set for xsched_hip: it has opened no library yet\n")


@pytest.mark.parametrize("types", ["[ctypes.POINTER(ctypes.c_uint64), ctypes.c_uint64]",
                                   "[ctypes.c_void_p, ctypes.c_int]"])  # fmt: skip
def test_a_binding_that_declares_types_is_left_as_it_is(place: Place, types: str) -> None:
    line = "__library = ctypes.cdll.LoadLibrary(PATH)\n"
    declared = f"{line}        __library.HipQueueCreate.argtypes = {types}\n"
    place.write("xsched_hip.py", OLD.replace(line, declared))
    library = "xsched_hip.XSchedHIP._XSchedHIP__library"
    code = f"{CALL}; print({library}.HipQueueCreate.argtypes, {library}['HipQueueCreate'].argtypes)"
    with_it, without = place.run("-c", code), place.run("-c", code, hook=False)
    assert with_it.stdout == without.stdout
    assert "Whole" not in with_it.stdout
    assert place.told() == ""


def test_a_prototype_keeps_its_types(place: Place) -> None:
    text = ("import ctypes\nfrom helpers import PATH\n"
            "kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64)\n"
            'create = kind(("HipQueueCreate", ctypes.CDLL(PATH)))\nlibrary = 0\n')  # fmt: skip
    place.write("xsched_hip.py", text)
    call = f"import ctypes, xsched_hip; xsched_hip.create(ctypes.byref(ctypes.c_long()), {HANDLE})"
    done = place.run("-c", call + "; print(xsched_hip.create.argtypes)")
    assert "Whole" not in done.stdout
    assert done.stdout.startswith(f"{WHOLE}\n")


def test_the_current_binding_is_seen_to_as_well(place: Place) -> None:
    place.write("xsched/__init__.py", "")
    place.write("xsched/hip/__init__.py", OLD)
    done = place.run("-c", CALL.replace("xsched_hip", "xsched.hip"))
    assert (done.stdout, done.stderr) == (f"{WHOLE}\n", "")


def test_a_binding_in_a_zip_file(place: Place, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", place.folder)
    (place.folder / "xsched_hip.py").unlink()
    done = place.run("-c", CALL, PYTHONPATH=archive)
    assert (done.stdout, done.stderr) == (f"{WHOLE}\n", "")


def test_a_syntax_error_in_the_binding_is_the_bindings_own(place: Place) -> None:
    place.write("xsched_hip.py", "def f(:\n")
    with_it, without = place.run("-c", CALL), place.run("-c", CALL, hook=False)
    assert "SyntaxError" in without.stderr
    # The import system's own frames, which Python hides when they are together, are not.
    assert with_it.stderr.splitlines()[-4:] == without.stderr.splitlines()[-4:]
    assert with_it.returncode == without.returncode
    assert "argument types" not in with_it.stderr


def test_a_binding_that_exits_or_is_not_there(place: Place) -> None:
    for text in ("raise SystemExit(7)", "import nonesuch", "1 / 0"):
        place.write("xsched_hip.py", text)
        with_it, without = place.run("-c", CALL), place.run("-c", CALL, hook=False)
        assert with_it.returncode == without.returncode != 0
        # The frame of ours that is in between is the only difference.
        assert with_it.stderr.splitlines()[-1:] == without.stderr.splitlines()[-1:]
        assert "argument types" not in with_it.stderr
    (place.folder / "xsched_hip.py").unlink()
    assert place.run("-c", CALL).stderr == place.run("-c", CALL, hook=False).stderr


def test_nothing_else_of_the_module_is_changed(place: Place) -> None:
    code = (
        "import xsched_hip, importlib, inspect, sys\n"
        "for again in range(2):\n"
        "    m = sys.modules['xsched_hip']\n"
        "    print(type(m.__loader__), vars(m.__loader__), m.__spec__, sorted(vars(m)),"
        " inspect.getsource(m)[:40], sys.path)\n"
        "    importlib.reload(m)\n"
        "print(sorted(set(sys.modules)), 'sitecustomize' in sys.modules)\n"
    )
    with_it, without = place.run("-c", code), place.run("-c", code, hook=False)
    assert without.returncode == 0, without.stderr
    assert _without_addresses(with_it.stdout) == _without_addresses(without.stdout)
    assert place.told().count("argument types set") == 3


def _without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def test_an_error_of_ours_is_one_line_and_the_program_goes_on(place: Place) -> None:
    place.write("xsched_hip.py", OLD + "\n__name__ = None\ndel XSchedHIP.HIPQueueCreate\n")
    done = place.run("-c", "import xsched_hip; print('on')", **{LOG: "/nonesuch/log"})
    assert (done.stdout, done.returncode) == ("on\n", 0)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("xdiag: argument types of XSched's binding not set: ")
    # Nor is a closed standard error an end.
    script = f"exec {sys.executable} -c 'import xsched_hip; print(1)' 2>&-"
    environ = environment({**place.environ, "PYTHONPATH": str(place.folder), LOG: "/nonesuch"})
    quiet = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, check=False)
    assert (quiet.stdout, quiet.returncode) == (b"1\n", 0)


def test_the_log_is_only_ever_a_private_file_that_is_there(place: Place, tmp_path: Path) -> None:
    place.log.chmod(0o644)
    assert place.run("-c", CALL).stdout == f"{WHOLE}\n"
    assert place.told() == ""
    place.log.chmod(0o600)
    link, fifo, missing = tmp_path / "link", tmp_path / "fifo", tmp_path / "missing"
    link.symlink_to(place.log)
    os.mkfifo(fifo)
    for path in (link, fifo, missing, tmp_path):
        done = place.run("-c", CALL, **{LOG: str(path)})
        assert (done.stdout, done.returncode) == (f"{WHOLE}\n", 0)
        assert done.stderr.count("\n") <= 1
    assert place.told() == "" and not missing.exists()


# ---- the user's own sitecustomize ------------------------------------------------------------

THEIRS = """
import sys
print("theirs", __name__, __file__, sys.modules[__name__].__dict__ is globals(),
      [each for each in sys.path if "hook" in each], __spec__.origin)
value = 42
"""


@pytest.mark.parametrize("python", _interpreters())
def test_the_users_own_sitecustomize_runs_as_if_ours_were_not_there(
    place: Place, python: str
) -> None:
    place.write("sitecustomize.py", THEIRS)
    place.write("usercustomize.py", "print('usercustomize')")
    code = "import sitecustomize as s, sys; print(s.value, s.__file__, sys.path, vars(s).keys());"
    without = place.run("-c", code + CALL, hook=False, python=python)
    assert without.stdout.startswith(f"theirs sitecustomize {place.folder}")
    with_it = place.run("-c", code + CALL, python=python)
    assert with_it.stdout == without.stdout.replace(CUT, WHOLE)
    assert (with_it.stderr, without.stderr) == ("", "")


@pytest.mark.parametrize(
    "theirs",
    ["1 / 0", "raise ImportError('gone')", "import nonesuch", "def f(:", "raise SystemExit(5)",
     "import sys; del sys.modules[__name__]", "import sys; sys.modules[__name__] = 5",
     "import xsched_hip"],
)  # fmt: skip
def test_a_sitecustomize_that_fails_fails_the_same(place: Place, theirs: str) -> None:
    place.write("sitecustomize.py", theirs)
    code = "import sys; print(sys.modules.get('sitecustomize'))"
    with_it, without = place.run("-c", code), place.run("-c", code, hook=False)
    assert with_it.stdout == without.stdout
    assert with_it.returncode == without.returncode
    assert with_it.stderr.splitlines()[-1:] == without.stderr.splitlines()[-1:]


def test_without_one_there_is_none(place: Place) -> None:
    code = (
        "import sys, os; print('sitecustomize' in sys.modules)\n"
        "try: import sitecustomize\n"
        "except ImportError as error: print(error, error.name)\n"
    )
    with_it, without = place.run("-S", "-c", code), place.run("-S", "-c", code, hook=False)
    if "No module named" not in without.stdout:
        pytest.skip("this Python has a sitecustomize of its own")
    assert place.run("-c", code).stdout == without.stdout
    # With -S it is not imported, and may be by the program, which is then served as well.
    assert with_it.stdout == without.stdout


def test_two_of_ours_and_the_same_twice(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(HOOK.parent, copy)
    (tmp_path / "alias").symlink_to(copy)
    place.write("sitecustomize.py", THEIRS)
    path = f"{copy}:{HOOK.parent}/:{tmp_path}/alias:{HOOK.parent}:{place.folder}"
    done = place.run("-c", CALL + "; import sys; print(len(sys.meta_path))", PYTHONPATH=path)
    plain = place.run("-c", "import sys; print(len(sys.meta_path))", hook=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith(f"theirs sitecustomize {place.folder}")
    assert done.stdout.splitlines()[1:] == [WHOLE, str(int(plain.stdout.split("\n")[1]) + 1)]


def test_children_inherit_the_hook(place: Place) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CALL!r}])"
    assert place.run("-c", code).stdout == f"{WHOLE}\n"


def test_in_a_virtual_environment(place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = str(folder / "bin" / "python")
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    for name in ("helpers.py", "xsched_hip.py"):
        shutil.move(place.folder / name, Path(packages) / name)
    (Path(packages) / "sitecustomize.py").write_text("print('environment')")
    assert place.run("-c", CALL, hook=False, python=python).stdout == f"environment\n{CUT}\n"
    done = place.run("-c", CALL, python=python)
    assert (done.stdout, done.stderr) == (f"environment\n{WHOLE}\n", "")


# ---- what keeps it away ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], ""),
        (["-P"], ""),
        (["-s"], ""),
        (["-I"], "-I or -E"),
        (["-E"], "-I or -E"),
        (["-uE"], "-I or -E"),
        (["-S"], "-S"),
        (["-IS"], "-I or -E|-S"),
    ],
)
def test_obstacles_are_those_that_real_pythons_have(
    place: Place, options: list[str], says: str
) -> None:
    if options == ["-P"] and sys.version_info < (3, 11):
        pytest.skip("this Python has no -P")
    command = [sys.executable, *options, "-c", f"import sys; sys.path.append('.'); {CALL}"]
    start = understood(command, Root(), place.environ, str(place.folder))
    found = obstacles(start)
    assert len(found) == (says.count("|") + 1 if says else 0)
    for each, word in zip(found, says.split("|"), strict=False):
        assert word in each
    done = place.run(*command[1:])
    assert done.stdout == (f"{CUT}\n" if says else f"{WHOLE}\n"), done.stderr
    # A patient tells the same.
    assert obstacles(admit(command)) == found


def test_pythonsafepath_is_no_obstacle(place: Place) -> None:
    assert place.run("-c", CALL, PYTHONSAFEPATH="1").stdout == f"{WHOLE}\n"


def test_programs_that_are_no_python(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"]}
    (told,) = obstacles(understood(["/bin/true"], Root(), environ))
    assert "/bin/true is no Python interpreter" in told
    assert obstacles(understood(["/bin/sh", "-c", "python3 x.py"], Root(), environ)) == ()


def test_a_path_that_pythonpath_cannot_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_width_handle, "_HOOK", tmp_path / "a:b")
    with pytest.raises(CannotRun, match="PYTHONPATH can hold"):
        environment({})
    assert "PYTHONPATH can hold" in obstacles(understood([sys.executable], Root(), {}))[0]


@pytest.mark.parametrize(
    ("earlier", "after"),
    [("", ""), ("/a", ":/a"), ("/a::b", ":/a::b"), (":", "::"), ("/a:HOOK", ":/a")],
)
def test_the_environment_keeps_what_is_there(earlier: str, after: str) -> None:
    given = {"A": "1", "PYTHONPATH": earlier.replace("HOOK", hook_folder())}
    assert environment(given) == {"A": "1", "PYTHONPATH": hook_folder() + after}
    assert environment({}) == {"PYTHONPATH": hook_folder()}
    assert environment(environment(given)) == environment(given)


# ---- the file itself -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sitecustomize.py", "xdiag_argument_types.py"])
def test_the_hook_is_read_by_old_pythons_and_imports_nothing(name: str) -> None:
    tree = ast.parse((HOOK.parent / name).read_text(), feature_version=(3, 6))
    imported = [ast.unparse(each) for each in ast.walk(tree)
                if isinstance(each, (ast.Import, ast.ImportFrom))]  # fmt: skip
    assert sorted(imported) == ["from typing import Any", "import os", "import sys"]
    # Annotations that are evaluated when a function is made name builtins only, or are text.
    names = dir(builtins)
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef):
            notes = [argument.annotation for argument in each.args.args] + [each.returns]
            for note in filter(None, notes):
                text = isinstance(note, ast.Constant)
                assert text or (isinstance(note, ast.Name) and note.id in names), ast.unparse(note)


def test_the_hook_costs_less_than_a_millisecond() -> None:
    """Measured in one process, to be compiled and executed, where no bytecode can be kept.

    Starting a process takes 10 to 20 times that, and as much to spare.
    """
    code = (
        "import sys, time\n"
        "file, folder = sys.argv[1:]; best = 1\n"
        "for _ in range(20):\n"
        "    sys.path.insert(0, folder); before = list(sys.meta_path)\n"
        "    start = time.perf_counter()\n"
        "    compiled = compile(open(file).read(), file, 'exec')\n"
        "    try: exec(compiled, {'__name__': 'sitecustomize', '__file__': file})\n"
        "    except ImportError: pass\n"
        "    best = min(best, time.perf_counter() - start)\n"
        "    assert len(sys.meta_path) == len(before) + 1; sys.meta_path[:] = before\n"
        "print(best)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code, str(HOOK), str(HOOK.parent)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert float(done.stdout) < 0.001


def test_the_package_holds_the_hook() -> None:
    assert HOOK.is_file()
    assert not (HOOK.parent / "__init__.py").exists(), "it would not be found as sitecustomize"


# ---- for good --------------------------------------------------------------------------------


def _binding(path: Path, kind: str = "old"):
    return read_binding(str(path), kind, Root())  # type: ignore[arg-type]


def _applied(path: Path, diff: str, folder: str, tool: str) -> None:
    command = {"patch": ["patch", "-p1", "-s"], "git": ["git", "apply", "-"]}[tool]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {tool} here")
    environ = {**os.environ, "GIT_CEILING_DIRECTORIES": os.path.dirname(folder)}
    subprocess.run(command, cwd=folder, input=diff.encode(), check=True, env=environ)


@pytest.mark.parametrize("tool", ["patch", "git"])
def test_the_diff_applies_and_repairs(place: Place, tool: str) -> None:
    path = place.folder / "xsched_hip.py"
    diff = argtypes_diff(_binding(path), path.read_text())
    assert diff.startswith("--- a/xsched_hip.py\n+++ b/xsched_hip.py\n")
    added = [line for line in diff.splitlines() if line.startswith("+") and "+++" not in line]
    assert added == ["+        __library.HipQueueCreate.argtypes = "
                     "[ctypes.c_void_p, ctypes.c_void_p]"]  # fmt: skip
    _applied(path, diff, diff_folder(_binding(path)), tool)
    assert _binding(path).full_width
    assert place.run("-c", CALL, hook=False).stdout == f"{WHOLE}\n"
    with pytest.raises(CannotRun, match="already"):
        argtypes_diff(_binding(path), path.read_text())


VARIANTS = {
    "no newline at the end": "import ctypes\ndef f(s):\n    lib.HipQueueCreate(ctypes.byref("
    "ctypes.c_uint64()), s)\nlib = ctypes.CDLL(PATH)",
    "carriage returns": OLD.replace("\n", "\r\n"),
    "tabs": OLD.replace("    ", "\t"),
    "another name of ctypes": OLD.replace("ctypes", "ct").replace("import ct",
                                                                   "import ctypes as ct"),
    "names of ctypes": "from ctypes import *\nlib = CDLL(PATH)\n"
    "def f(s):\n    return lib.HipQueueCreate(byref(c_uint64()), s)\n",
    "too narrow": OLD.replace("(PATH)\n", "(PATH)\n        __library.HipQueueCreate.argtypes = ["
                              "ctypes.c_void_p,\n            ctypes.c_int]  # é ünd\n"),
    "opened in two places": OLD.replace("        print(error)\n        exit(1)\n",
                                        "        __library = ctypes.CDLL('x')\n"),
    "letters": OLD.replace("(PATH)\n", "(PATH)  # größer, 更大\n"),
    "a call over lines": OLD.replace("Library(PATH)", "Library(\n            PATH\n        )"),
    "by index": OLD.replace("ctypes.cdll.LoadLibrary(PATH)", "ctypes.CDLL(PATH, use_errno=True)"),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tool", ["patch", "git"])
def test_bindings_of_all_sorts_are_declared(tmp_path: Path, variant: str, tool: str) -> None:
    path = tmp_path / "on the path" / "xsched" / "hip" / "__init__.py"
    path.parent.mkdir(parents=True)
    path.write_bytes(VARIANTS[variant].encode())
    binding = _binding(path, "current")
    assert diff_folder(binding) == str(tmp_path / "on the path")
    diff = argtypes_diff(binding, path.read_bytes())
    assert diff == argtypes_diff(binding, VARIANTS[variant])
    _applied(path, diff, diff_folder(binding), tool)
    assert _binding(path, "current").full_width
    added = path.read_bytes().count(b"argtypes")
    assert added == (2 if variant == "opened in two places" else 1)
    ast.parse(path.read_bytes())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(:", "cannot be parsed"),
        (OLD.replace("\n", "\r"), "cannot be parsed"),
        ("\0", "cannot be parsed"),
        ("import ctypes\nlib = ctypes.CDLL('x')\n", "does not call HipQueueCreate"),
        (OLD.replace(", stream)", ")"), "passes other than two values"),
        (OLD.replace("__library = ctypes.cdll.LoadLibrary(PATH)", "__library = opened()"),
         "nothing assigns an opened library to __library"),
        (OLD.replace("__library = ctypes.cdll", "pass; __library = ctypes.cdll"),
         "not a plain assignment"),
        (OLD.replace("__library = ctypes.cdll", "a = __library = ctypes.cdll"),
         "not a plain assignment"),
        ("from ctypes import CDLL, byref\nlib = CDLL('x')\ndef f(s): lib.HipQueueCreate(0, s)\n",
         "does not import c_void_p"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "xsched_hip.py"
    path.write_bytes(text.encode())
    with pytest.raises(CannotRun, match=re.escape(says)) as caught:
        argtypes_diff(_binding(path), text)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=150, deadline=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_mutated_bindings_make_a_binding_or_one_line(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([OLD, *VARIANTS.values()]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 12))
        piece = data.draw(st.sampled_from(["", "\n", " ", "(", ")", ";", "x", "=", "\t", "#", "é"]))
        text = text[:place] + piece + text[place + cut :]
    path = tmp_path / "xsched_hip.py"
    path.write_bytes(text.encode())
    try:
        diff = argtypes_diff(_binding(path), text)
    except CannotRun:
        return
    removed = [line[1:] for line in diff.splitlines(keepends=True)[2:] if line[0] in " -"]
    assert all(line.rstrip("\n") in text for line in removed if line[0] != "\\")
    kept = [line for line in diff.splitlines(keepends=True)[2:] if line[0] == "+"]
    assert any("argtypes" in line or "c_void_p" in line for line in kept)
